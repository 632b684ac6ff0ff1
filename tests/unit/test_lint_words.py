"""The terms of the glossary, in all text that users read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import lint_words

RETIRED = {"trial redis": "bundled Redis", "nobody": "the noun"}


def found_in(folder: Path, name: str, text: str) -> list[str]:
    file = folder / name
    file.write_text(text)
    return [line.removeprefix(f"{folder}/") for line in lint_words.findings([file], RETIRED)]


def test_no_text_that_users_read_has_a_retired_word():
    """Docs, chart, CRD, console, CLI help, errors, conditions, events and log lines use the terms of the glossary."""
    retired = lint_words.retired_words(lint_words.GLOSSARY.read_text())
    assert {"upkeep", "put off", "hand back", "whoever"} <= set(retired)
    assert list(lint_words.findings(lint_words.user_visible_files(), retired)) == []


def test_a_planted_word_is_found_in_a_page_with_its_line_and_its_replacement(tmp_path: Path):
    """A line break within the words does not hide the words; a code span is a name."""
    text = "# Redis\n\nThe Trial\nRedis is small. `trial Redis` is a name.\n"
    assert found_in(tmp_path, "page.md", text) == ["page.md:3: 'trial redis' is retired; write: bundled Redis"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("help.py", "def pause() -> None:\n    '''Pause: nobody may claim.'''\n"),
        ("error.py", "raise ValueError(f'{1} job that nobody runs')\n"),
        ("chart.yaml", "# A port for nobody.\nport: 1\n"),
        ("script.lua", "return 'error', 'nobody knows'\n"),
        ("console.js", "show('There is nobody');\n"),
    ],
)
def test_a_planted_word_is_found_in_every_kind_of_file(tmp_path: Path, name: str, text: str):
    """Python strings, chart comments, strings of scripts and the console are text that users read."""
    (line,) = found_in(tmp_path, name, text)
    assert line.endswith("'nobody' is retired; write: the noun")


def test_names_in_code_are_no_text(tmp_path: Path):
    """Comments, identifiers and keys of Python sources may keep an old word until a rename."""
    assert found_in(tmp_path, "names.py", "nobody = {'nobody': 1}  # nobody\n") == []
