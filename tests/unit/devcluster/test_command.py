"""Errors of `agentpool devcluster` when the system refuses a request."""

from __future__ import annotations

import errno
import os

import click
import pytest
from click.testing import CliRunner

from agentpool_devcluster.cluster import Cluster
from agentpool_devcluster.commands import devcluster


def test_a_full_disk_is_not_blamed_on_the_port(monkeypatch: pytest.MonkeyPatch):
    """Only errors of the API server's listener name `--port`; other errors repeat the system's message."""

    async def start(_self: Cluster) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Cluster, "start", start)
    error = CliRunner().invoke(devcluster, [], standalone_mode=False).exception
    assert type(error) is click.ClickException
    assert str(error) == "[Errno 28] No space left on device"
