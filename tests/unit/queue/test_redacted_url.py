"""Redis URLs in messages: the server's place is shown, and no part of a password."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentpool_core.errors import SettingError
from agentpool_core.queue import connect
from agentpool_core.queue.connection.redacted_url import mask_url, place_of


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis://user:secret@host/1", "redis://user:***@host/1"),
        ("redis://:p@ss@host", "redis://:***@host"),
        ("redis://:pa/ss#x@host", "redis://:***@host"),
        ("redis://:pa?ss@host", "redis://***"),
        ("redis://token@host", "redis://***@host"),
        ("redis://host?password=secret", "redis://host?***"),
        ("redis://host?password=se@cret", "redis://***"),
        ("unix:///run/redis.sock?db=1", "unix:///run/redis.sock?***"),
        ("secret@host", "***"),
        ("sk-secret", "***"),
        ("se://cret", "***"),
        ("sk-1234", "***"),
        ("hunter2://x", "***"),
    ],
)
def test_a_masked_url_shows_no_password(url, shown):
    """User, host and database stay; if the secret part is not clear, the whole URL is hidden."""
    assert mask_url(url) == shown


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("redis://:secret@host", "host:6379"),
        ("redis:///2", "localhost:6379"),
        ("redis://[::1]:7000/0", "[::1]:7000"),
        ("redis+sentinel://u:secret@one,two:26380/service", "one:26379,two:26380"),
        ("unix:///run/redis.sock", "/run/redis.sock"),
        ("redis://:pa?ss@host", "***"),
    ],
)
def test_a_place_is_the_address_of_the_server(url, place):
    """Hosts have their ports; a socket has a path."""
    assert place_of(url) == place


@given(st.text(alphabet="SECRT@/?#:%", min_size=3).filter(lambda text: "S" in text))
def test_no_part_of_any_password_is_shown(password):
    """Only the password contains the capital letters of the test."""
    for url in (f"redis://u:{password}@host/0", f"redis://host?password={password}"):
        assert not set("SECRT") & set(mask_url(url) + place_of(url))


@pytest.mark.parametrize("url", ["redis://:se/cret@host", "redis://:se#cret@host", "redis://[se:cret@host", "se@cret"])
def test_a_refused_url_shows_no_password(url):
    """The refusal names the field and the remedy, without a part of the URL."""
    with pytest.raises(SettingError) as caught:
        connect(url)
    assert "cret" not in str(caught.value).replace("percent-encode", "")
    assert caught.value.__cause__ is None
