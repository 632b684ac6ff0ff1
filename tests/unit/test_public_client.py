"""`agentpool_core` exports the public client, and imports no module before the first use."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import agentpool_core

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("redis", "pydantic", "agentpool_core.client")


@pytest.mark.parametrize("name", agentpool_core.__all__)
def test_every_public_name_exists(name: str):
    """The name comes from the defining module, and stays the same object."""
    found = getattr(agentpool_core, name)
    assert found.__name__ == name
    assert getattr(agentpool_core, name) is found


def test_the_package_alone_imports_no_queue():
    """A program that needs only the name of the distribution pays for no Redis."""
    program = f"import sys, agentpool_core; print(*{{*{HEAVY}}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_an_unknown_name_is_named():
    """The error equals the error of any module."""
    with pytest.raises(AttributeError, match="module 'agentpool_core' has no attribute 'Cleint'"):
        _ = agentpool_core.Cleint  # type: ignore[attr-defined]


def test_the_pages_import_the_client_by_its_public_name():
    """A reader copies the line; the modules below may move."""
    pages = [*(ROOT / "docs").glob("*.md"), ROOT / "README.md", *(ROOT / "examples").rglob("*")]
    texts = {page.name: page.read_text() for page in pages if page.suffix in {".md", ".py"}}
    found = {
        name: re.findall(r"^from agentpool_core\.(?:client|jobs|errors) .*$", text, re.MULTILINE)
        for name, text in texts.items()
    }
    assert {name: lines for name, lines in found.items() if lines} == {}
    assert "from agentpool_core import Client\n" in texts["submit.md"]
