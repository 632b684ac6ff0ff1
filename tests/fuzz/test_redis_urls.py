"""Random Redis URLs: read with their meaning, or refused without a part of a password; never a different exception.

`AGENTPOOL_FUZZ_CASES` sets the number of cases (a slice by default; 10,000 before a release); the test prints the
count.
"""

from __future__ import annotations

import os
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentpool_core.errors import SettingError
from agentpool_core.queue import connect
from agentpool_core.queue.connection.redacted_url import mask_url, place_of
from agentpool_core.queue.connection.url import SCHEMES, RedisUrl
from agentpool_core.queue.connection.url_options import OPTIONS

CASES = int(os.environ.get("AGENTPOOL_FUZZ_CASES", "300"))
MANY = settings(max_examples=CASES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
SECRET = "Ω"  # only in passwords

scraps = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["", "@", ":", "/", "//", "?", "#", "%", "%zz", "[::1]", "h", "h:1", ",", "&", "=", " ", "\n"]),
)
schemes = st.one_of(st.sampled_from([*SCHEMES, "valkey", "REDIS", "http"]), scraps)
options = st.lists(st.tuples(st.one_of(st.sampled_from(sorted(OPTIONS)), scraps), scraps), max_size=3)
passwords = st.text(alphabet="Ω@/?#%:[]& ab1", min_size=1, max_size=12).filter(lambda text: SECRET in text)


@st.composite
def urls(draw) -> str:
    """Text in the shape of a URL, or nearly."""
    query = "&".join(f"{name}={value}" for name, value in draw(options))
    place = draw(st.sampled_from(["h", "u:p@h:1/0", "[::1]", "h/service/1", "/socket", "a:1,b:2", ""]))
    parts = "".join(draw(st.lists(scraps, max_size=2)))
    return f"{draw(schemes)}://{place}{parts}{'?' + query if query else ''}"


@pytest.mark.timeout(3600)
def test_any_text_is_a_url_or_refused():
    """The URL makes a client with working connections, or the refusal is a SettingError with a field."""
    seen = {"taken": 0}
    refusals: list[SettingError] = []

    @MANY
    @given(text=st.one_of(urls(), st.text(max_size=40)))
    def cases(text):
        mask_url(text)
        place_of(text)
        try:
            client = connect(text)
        except SettingError as error:
            refusals.append(error)
            return
        seen["taken"] += 1
        if hasattr(client, "connection_pool"):
            client.connection_pool.make_connection()

    cases()
    print(f"urls: {seen}, refused: {len(refusals)}")  # noqa: T201 - a fuzz run reports the count
    assert {error.field for error in refusals} == {"Redis URL"}
    assert seen["taken"] > 0


@pytest.mark.timeout(3600)
def test_a_password_is_read_exactly_or_never_shown():
    """A quoted password is read exactly; an unquoted password is in no message, and the host stays the host."""
    seen = {"taken": 0}
    refusals: list[str] = []

    @MANY
    @given(password=passwords, scheme=st.sampled_from(["redis", "rediss", "redis+sentinel", "redis+cluster"]))
    def cases(password, scheme):
        path = "/service" if "sentinel" in scheme else ""
        quoted = RedisUrl.parse(f"{scheme}://user:{quote(password, safe='')}@server:1{path}")
        assert quoted.settings["password"] == password
        try:
            bare = RedisUrl.parse(f"{scheme}://user:{password}@server:1{path}")
        except SettingError as error:
            refusals.append(str(error))
            return
        seen["taken"] += 1
        assert bare.hosts == (("server", 1),)

    cases()
    print(f"passwords: {seen}, refused: {len(refusals)}")  # noqa: T201 - as above
    assert seen["taken"] > 0
    assert refusals
    assert not any(SECRET in refusal for refusal in refusals)
