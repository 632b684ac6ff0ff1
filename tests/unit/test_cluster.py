"""A kubeconfig that cannot be used is told in one line, by what names it."""

from __future__ import annotations

import pytest

from agentpool.cluster import configuration
from agentpool.errors import SettingError


@pytest.mark.parametrize(
    ("text", "problem"), [(None, "there is no such file"), ("a: [b", "cannot be used: while parsing a flow sequence")]
)
async def test_a_kubeconfig_that_cannot_be_used_is_named(tmp_path, caplog, text, problem):
    """One line with the file and the remedy; the library, which takes a missing file for an empty one, says nothing."""
    file = tmp_path / "config"
    if text is not None:
        file.write_text(text)
    with pytest.raises(SettingError) as refused:
        await configuration(file)
    assert str(refused.value).startswith(f"kubeconfig: '{file}': {problem}")
    assert "\n" not in str(refused.value)
    assert caplog.messages == []
