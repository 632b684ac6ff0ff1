"""Tables and machine-readable output."""

from __future__ import annotations

import json

import yaml

from agentpool_core.cli.output import Format, emit, table

DOCUMENT = {"job_id": "a", "payload": {"name": "Müller"}}


def test_a_table_is_padded_for_grep():
    """Headers are upper case, columns align, nothing is an empty cell, and no line ends in spaces."""
    assert table(("job", "why"), [("a", None), ("longer", "two\nlines")]) == (
        "JOB      WHY\na        -\nlonger   two lines"
    )


def test_json_and_yaml_print_the_same_document(capsys):
    """Both machine forms carry everything, in Unicode."""
    emit(Format.JSON, DOCUMENT, names=["a"], text="")
    assert json.loads(capsys.readouterr().out) == DOCUMENT
    emit(Format.YAML, DOCUMENT, names=["a"], text="")
    assert yaml.safe_load(capsys.readouterr().out) == DOCUMENT


def test_name_prints_an_identifier_per_line(capsys):
    """Tools such as xargs can read the output."""
    emit(Format.NAME, [], names=["a", "b"], text="table")
    assert capsys.readouterr().out == "a\nb\n"
