"""The state of a local system that the next start finds again."""

import itertools
import socket
import stat

import pytest

from agentpool_core.errors import SettingError
from agentpool_local.stack.kept import KeptState


def test_without_a_directory_nothing_is_kept():
    """Every value is new."""
    numbers = itertools.count()
    with KeptState(None) as kept:
        assert [kept.value("token", lambda: str(next(numbers))) for _ in range(2)] == ["0", "1"]


def test_a_directory_keeps_values_and_free_ports(tmp_path):
    """The next start has the same token and port, unless a different program has taken the port."""
    place = tmp_path / "state"
    with KeptState(place) as kept:
        token, port = kept.value("token", lambda: "first"), kept.port("api-port")
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert stat.S_IMODE((place / "token").stat().st_mode) == 0o600
    with KeptState(place) as kept:
        assert (kept.value("token", lambda: "second"), kept.port("api-port")) == (token, port)
        with socket.create_server(("127.0.0.1", port)):
            changed = kept.port("api-port")
        assert changed != port
        assert kept.port("api-port") == changed


def test_a_directory_belongs_to_one_system(tmp_path):
    """A second start on the same directory is refused, and succeeds after the end of the first."""
    with KeptState(tmp_path), pytest.raises(SettingError, match=r"--state.*running agentpool dev"):
        KeptState(tmp_path).__enter__()
    with KeptState(tmp_path):
        pass


def test_an_unusable_directory_is_refused(tmp_path):
    """The error names the flag and the remedy."""
    (tmp_path / "file").touch()
    with pytest.raises(SettingError, match=r"--state.*name a directory"):
        KeptState(tmp_path / "file" / "state").__enter__()
