"""Reading of Redis URLs: the meaning of options, and refusals by name, without a part of a password."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

import pytest

from agentpool_core.errors import SettingError
from agentpool_core.queue import connect
from agentpool_core.queue.connection.url import RedisUrl, Topology
from agentpool_core.queue.connection.url_options import OPTIONS

SECRET = "s3cr3t"  # no message may contain this text


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://host", RedisUrl(topology=Topology.SINGLE, tls=False, hosts=(("host", 6379),))),
        (
            " redis://host:1/2\n",
            RedisUrl(topology=Topology.SINGLE, tls=False, hosts=(("host", 1),), settings={"db": 2}),
        ),
        ("REDISS://[::1]:7000/", RedisUrl(topology=Topology.SINGLE, tls=True, hosts=(("::1", 7000),))),
        ("valkeys://h", RedisUrl(topology=Topology.SINGLE, tls=True, hosts=(("h", 6379),))),
        (
            "redis://u%40x:p%2Fw@h?socket_timeout=0.5&protocol=3&socket_keepalive=no",
            RedisUrl(
                topology=Topology.SINGLE,
                tls=False,
                hosts=(("h", 6379),),
                settings={
                    "username": "u@x",
                    "password": "p/w",
                    "socket_timeout": 0.5,
                    "protocol": 3,
                    "socket_keepalive": False,
                },
            ),
        ),
        (
            "unix:///run/r.sock?db=4",
            RedisUrl(topology=Topology.SOCKET, tls=False, path="/run/r.sock", settings={"db": 4}),
        ),
        ("redis+socket:///run/r", RedisUrl(topology=Topology.SOCKET, tls=False, path="/run/r")),
        (
            "rediss+sentinel://a,[::1],b:1/svc/3?sentinel_password=x&ssl_ca_certs=/ca&ssl_cert_reqs=CERT_OPTIONAL",
            RedisUrl(
                topology=Topology.SENTINEL,
                tls=True,
                hosts=(("a", 26379), ("::1", 26379), ("b", 1)),
                service="svc",
                settings={"ssl_ca_certs": "/ca", "ssl_cert_reqs": "optional", "db": 3},
                sentinel={"sentinel_password": "x"},
            ),
        ),
        (
            "rediss+cluster://a:1,b:2/0?ssl_min_version=TLSv1.3",
            RedisUrl(
                topology=Topology.CLUSTER,
                tls=True,
                hosts=(("a", 1), ("b", 2)),
                settings={"ssl_min_version": ssl.TLSVersion.TLSv1_3},
            ),
        ),
    ],
)
def test_a_url_sets_the_options_of_the_connection(url, expected):
    """Sentinel and Cluster accept every option of a single server, and white space around a URL is dropped."""
    assert RedisUrl.parse(url) == expected


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "empty"),
        (SECRET, "no scheme"),
        (f"http://{SECRET}", "scheme is none of redis, rediss"),
        (f'"redis://:{SECRET}@h/0"', "quotation mark"),
        (f"redis://:{SECRET} x@h", "white space"),
        (f"redis://:{SECRET}\n@h", "white space"),
        (f"redis://:12/{SECRET}@h", "%-encoded"),
        (f"redis://:12?{SECRET}@h", "%-encoded"),
        (f"redis://:12#{SECRET}@h", "%-encoded"),
        (f"redis://[x:{SECRET}@h", "%-encoded"),
        (f"redis://:{SECRET}%zz@h", "write %25"),
        (f"redis://:{SECRET}%ff@h", "not UTF-8"),
        (f"redis://:{SECRET}@/0", "names no host"),
        ("redis://:6379/0", "names no host"),
        ("redis:///0", "names no host"),
        (f"redis://h:{SECRET}", "host or port"),
        ("redis://::1:6379", "in brackets"),
        ("redis://[fe80]:1", "no IPv6"),
        ("redis://h:0", "port"),
        ("redis://h:70000", "port"),
        ("redis://a,b", "several hosts"),
        (f"redis+sentinel://{'a,' * 32}a/s", "more than 32 hosts"),
        (f"redis+cluster://{'a,' * 50_000}a", "more than 32 hosts"),
        (f"redis://h/{SECRET}", "not a number"),
        ("redis://h/0?db=1", "two databases"),
        ("redis+sentinel://h:26379", "names no service"),
        ("redis+cluster://h/1", "no databases but 0"),
        ("unix://run/redis.sock", "not absolute"),
        ("redis://h?ssl_ca_certs=/x", "option ssl_ca_certs: for TLS only; use rediss://"),
        ("redis://h?ssl_cert_reqs=CERT_NONE", "use rediss://"),
        ("rediss://h?ssl_ca_cert=/x", "did you mean ssl_ca_certs"),
        ("redis://h?nonsense=1", "option nonsense: unknown; known options: client_name, db"),
        (f"redis://h?{SECRET.upper()}=1", "option: unknown"),
        ("redis://h?retry=", "option retry: set by AgentPool"),
        ("redis://h?decode_responses=no", "option decode_responses: set by AgentPool"),
        ("redis://h?db", "option db: not a whole number"),
        (f"redis://h?db={SECRET}", "option db: not a whole number"),
        ("redis://h?db=1&db=1", "option db: given twice"),
        ("redis://:a@h?password=b", "option password: given before the host too"),
        ("redis://h?socket_timeout=0", "seconds above 0"),
        ("redis://h?socket_timeout=nan", "seconds above 0"),
        ("redis://h?protocol=1", "option protocol"),
        ("redis://h?max_connections=0", "option max_connections"),
        ("redis://h?client_name=a%20b", "option client_name"),
        ("redis://h?socket_keepalive=perhaps", "neither true nor false"),
        ("rediss://h?ssl_cert_reqs=never", "none of none, optional and required"),
        ("rediss://h?ssl_min_version=TLSv1", "neither TLSv1.2 nor TLSv1.3"),
        ("redis://h?sentinel_password=x", "for Sentinels only"),
        ("unix:///s?socket_keepalive=1", "not supported for socket"),
        ("rediss+cluster://h?ssl_ca_path=/x", "not supported for cluster"),
    ],
)
def test_a_wrong_url_is_refused(url, problem):
    """The refusal has the kind of the mistake and the remedy, and shows neither a value nor a password."""
    with pytest.raises(SettingError) as caught:
        connect(url)
    assert problem in str(caught.value)
    assert caught.value.__cause__ is None
    for piece in (SECRET, SECRET.upper()):
        assert piece not in str(caught.value)


VALUES = {
    "client_name": "me", "db": "0", "health_check_interval": "5", "max_connections": "10", "protocol": "2",
    "socket_connect_timeout": "1", "socket_keepalive": "1", "socket_timeout": "1", "username": "u", "password": "p",
    "ssl_ca_certs": "/x", "ssl_ca_data": "x", "ssl_ca_path": "/x", "ssl_certfile": "/x", "ssl_keyfile": "/x",
    "ssl_password": "x", "ssl_cert_reqs": "required", "ssl_check_hostname": "1", "ssl_ciphers": "x",
    "ssl_min_version": "1.2", "sentinel_username": "u", "sentinel_password": "p", "sentinel_tls": "1",
}  # fmt: skip


@pytest.mark.parametrize(
    ("base", "lacks"),
    [
        ("rediss://h", ("sentinel_",)),
        ("unix:///s", ("sentinel_", "ssl_", "socket_keepalive")),
        ("rediss+sentinel://h/s", ()),
        ("rediss+cluster://h", ("sentinel_", "ssl_ca_path", "ssl_password")),
    ],
)
def test_every_listed_option_is_accepted(base, lacks):
    """redis-py accepts the name and the type of each option in the list."""
    assert VALUES.keys() == OPTIONS.keys()
    for name, value in VALUES.items():
        url = f"{base}?{name}={value}"
        if name.startswith(lacks):
            with pytest.raises(SettingError):
                connect(url)
        else:
            client = connect(url)
            if hasattr(client, "connection_pool"):
                client.connection_pool.make_connection()


def test_the_redis_page_lists_the_options():
    """The page's table has each option of a URL, and no further option."""
    page = (Path(__file__).parents[3] / "docs/redis.md").read_text()
    table = page.partition("| options | meaning |")[2].partition("\n\n")[0]
    named = {name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert named == set(OPTIONS)
