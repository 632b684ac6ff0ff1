"""Delivery of webhooks: allowed addresses, signatures, and the time between tries."""

from __future__ import annotations

import base64
import hashlib
import hmac
from types import SimpleNamespace

import pytest

from agentpool_core.errors import InvalidJobError, SettingError
from agentpool_core.jobs import PoolRef
from agentpool_gateway.delivery.deliveries import LONGEST_RETRY_SECONDS, MOST_TRIES, retry_s
from agentpool_gateway.delivery.destinations import Destinations
from agentpool_gateway.delivery.sending import _retry_after_s
from agentpool_gateway.delivery.signing import SigningKeys

POOL = PoolRef("research", "analysts")
OPEN = Destinations.parse(["hooks.example.org", "*.customers.example", "93.184.216.34", "2606:2800:220:1::1"], [])
INSIDE = Destinations.parse(["hooks.example.org", "10.1.2.3"], ["10.0.0.0/8", "fd00::/8"])


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.org/a?b=c",
        "https://HOOKS.example.org:8443/",
        "https://hooks.example.org./",
        "https://a.b.customers.example/",
        "https://93.184.216.34/",
        "https://[2606:2800:220:1::1]/",
    ],
)
def test_addresses_of_allowed_hosts_are_taken(url):
    """A host matches by exact name, by the end of the name, or by address."""
    OPEN.check(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.org/",
        "ftp://hooks.example.org/",
        "https://hooks.example.org@evil.example/",
        "https://evil.example/?hooks.example.org",
        "https://evil.example#hooks.example.org",
        "https://customers.example/",
        "https://evilcustomers.example/",
        "https://xhooks.example.org/",
        "https://hooks.example.org\\@evil.example/",
        "https://hooks.example.org/\r\nHost: evil",
        "https://hooks.example.org:99999/",
        "https://[::1/",
        "https:///path",
        "https://h\u043eoks.example.org/",
        "https://hooks.example.org/" + "a" * 2_000,
        "",
        7,
    ],
)
def test_other_addresses_are_refused_by_field(url):
    """Wrong schemes, hosts that look alike, users, control characters, texts that are no URL."""
    with pytest.raises(InvalidJobError) as refusal:
        OPEN.check(url)
    assert refusal.value.field == "url"
    assert refusal.value.remedy


def test_a_gateway_without_hosts_delivers_nothing():
    """The refusal names the option that allows a host."""
    with pytest.raises(InvalidJobError, match="--webhook-host"):
        Destinations().check("https://hooks.example.org/")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "::1", "::", "fe80::1", "fd00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.1.2.3",
        "64:ff9b::a01:203", "2002:a01:203::1", "192.0.2.1", "64:ff9b:1::a01:203", "::ffff:0:10.1.2.3", "::10.1.2.3",
        "fec0::1", "5f00::1",
    ],
)  # fmt: skip
def test_private_addresses_are_never_reached(address):
    """The forms of IPv6 that stand for an IPv4 address are refused too."""
    assert not OPEN.allows(address, secure=True)
    assert not OPEN.allows(address, secure=False)


def test_public_addresses_need_tls_and_allowed_networks_do_not():
    """Without TLS only an allowed network will do, for each address in which a packet may end."""
    assert OPEN.allows("93.184.216.34", secure=True)
    assert OPEN.allows("2606:2800:220:1::1", secure=True)
    assert OPEN.allows("64:ff9b::93.184.216.34", secure=True)
    assert not INSIDE.allows("93.184.216.34", secure=False)
    for address in ("10.1.2.3", "fd00::1", "::ffff:10.1.2.3"):
        assert INSIDE.allows(address, secure=False), address
    assert not INSIDE.allows("192.168.1.1", secure=True)
    INSIDE.check("http://hooks.example.org/")


@pytest.mark.parametrize(("hosts", "networks"), [(["https://a.example"], []), (["a b"], []), ([], ["10.0.0.1/8"])])
def test_options_that_cannot_be_used_are_refused(hosts, networks):
    """An error names the option."""
    with pytest.raises(SettingError, match="--webhook-"):
        Destinations.parse(hosts, networks)


def test_a_receiver_verifies_a_message_by_the_secret_of_the_pool(tmp_path):
    """By the scheme of Standard Webhooks; a second key signs too; another pool has another secret."""
    file = tmp_path / "keys"
    texts = [base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2)]
    file.write_text(f"whsec_{texts[0]}\n{texts[1]}\n")
    keys = SigningKeys.read(file)
    headers = keys.headers(POOL, "msg_1", 1_700_000_000, b"{}")
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("msg_1", "1700000000")
    for secret, signature in zip(keys.secrets_of(POOL), headers["webhook-signature"].split(), strict=True):
        key = base64.b64decode(secret.removeprefix("whsec_"))
        expected = hmac.new(key, b"msg_1.1700000000.{}", hashlib.sha256).digest()
        assert signature == "v1," + base64.b64encode(expected).decode()
    assert set(keys.secrets_of(POOL)).isdisjoint(keys.secrets_of(PoolRef("research", "others")))
    assert texts[0] not in repr(keys)


@pytest.mark.parametrize("text", ["", "whsec_c2hvcnQ=", "whsec_%%%", "ключ"])
def test_keys_that_cannot_be_used_are_refused(tmp_path, text):
    """The error does not have the text of a key."""
    file = tmp_path / "keys"
    file.write_text(text)
    with pytest.raises(SettingError, match="--webhook-keys") as refusal:
        SigningKeys.read(file)
    assert "c2hvcnQ" not in str(refusal.value)
    with pytest.raises(SettingError, match="--webhook-keys"):
        SigningKeys.read(tmp_path / "absent")


def test_the_time_between_tries_grows_to_an_hour():
    """All tries together take some hours, less than a day."""
    times = [retry_s(tries) for tries in range(1, MOST_TRIES)]
    assert 4 <= times[0] <= 6
    assert max(times) <= 1.2 * LONGEST_RETRY_SECONDS
    assert 4 * 3_600 < sum(times) < 24 * 3_600


@pytest.mark.parametrize(
    ("status", "after", "wanted"),
    [
        (503, "7", 7),
        (429, "9" * 5_000, 3_600),
        (503, "Fri, 31 Dec 1999 23:59:59 GMT", 0),
        (503, "-1", 0),
        (503, "\u0661", 0),
        (500, "99999999999", 0),
        (200, "7", 0),
    ],
)
def test_a_receiver_delays_only_by_a_number_of_seconds_when_it_is_busy(status, after, wanted):
    """At most an hour; a date, which needs the clock of the receiver, and other answers delay nothing."""
    assert _retry_after_s(SimpleNamespace(status=status, headers={"Retry-After": after})) == wanted
