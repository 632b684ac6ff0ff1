"""The error for an unusable kubeconfig is a single line that names the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentpool_core.errors import SettingError
from agentpool_core.kube import kubeconfig
from agentpool_core.kube.client import Cluster
from agentpool_core.kube.connection import load
from agentpool_core.kube.errors import ForeignAnswerError


@pytest.mark.parametrize(
    ("text", "problem"), [(None, "there is no such file"), ("a: [b", "cannot be used: while parsing a flow sequence")]
)
async def test_an_unusable_kubeconfig_is_named(tmp_path, caplog, text, problem):
    """The line has the file and the remedy; the library treats a missing file like an empty file, without an error."""
    file = tmp_path / "config"
    if text is not None:
        file.write_text(text)
    with pytest.raises(SettingError) as refused:
        await load(file)
    assert str(refused.value).startswith(f"kubeconfig: '{file}': {problem}")
    assert "\n" not in str(refused.value)
    assert caplog.messages == []


NO_KUBECONFIGS = (
    *(b"root:x:0:0:root", b"- a", b"3", b"\xff\xfe\x00", b"clusters: 3", b"contexts: [1]\ncurrent-context: x"),
    *(b"current-context: x\ncontexts: [{name: x}]", b"users: {a: b}\ncurrent-context: []", b"&a [*a]", b"[" * 5_000),
)


@pytest.mark.parametrize("content", NO_KUBECONFIGS, ids=lambda content: str(content[:30]))
async def test_a_file_that_is_no_kubeconfig_is_refused_in_a_single_line(tmp_path, monkeypatch, content: bytes):
    """Any content is refused; a command that needs only the current namespace goes on without the file."""
    file = tmp_path / "config"
    file.write_bytes(content)
    with pytest.raises(SettingError) as refused:
        await load(file)
    assert str(refused.value).startswith(f"kubeconfig: '{file}': ")
    assert "\n" not in str(refused.value)
    monkeypatch.setenv("KUBECONFIG", str(file))
    assert kubeconfig.current_namespace() is None


@pytest.mark.parametrize("answer", [b"", b"<html>", b"[]", b'"text"', b"null", b"[" * 100_000, b"\xff"])
async def test_an_answer_that_is_no_object_is_an_outage(monkeypatch, answer: bytes):
    """The error for a proxy's page in place of the API names the request."""

    async def answered(*_: object, **__: object) -> bytes:
        return answer

    monkeypatch.setattr(Cluster, "_read", answered)
    with pytest.raises(ForeignAnswerError, match="GET /api: the answer is no JSON object"):
        await Cluster(None).get("/api")


def test_a_user_without_a_home_has_no_kubeconfig(monkeypatch):
    """A container that runs with a random user id has no home."""
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert kubeconfig.files() == []


def no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")
