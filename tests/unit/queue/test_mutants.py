"""Every mutant has a place in the queue's text; `make mutants` hunts them."""

from __future__ import annotations

import importlib
import inspect
import textwrap

import pytest

from agentpool_core.queue import scripts
from tests.mutants.catalogue import CATALOGUE


def test_mutants_have_different_names():
    """A name identifies a single mutant."""
    assert len({mutant.name for mutant in CATALOGUE}) == len(CATALOGUE) >= 12


@pytest.mark.parametrize("mutant", CATALOGUE, ids=lambda mutant: mutant.name)
def test_a_mutant_finds_its_text(mutant):
    """The text to replace exists, and the replacement differs."""
    assert mutant.old != mutant.new
    if mutant.method is None:
        assert any(mutant.old in script.source for script in scripts.ALL)
        return
    module, _, path = mutant.method.partition(":")
    owner = getattr(importlib.import_module(module), path.partition(".")[0])
    assert mutant.old in textwrap.dedent(inspect.getsource(getattr(owner, path.partition(".")[2])))
