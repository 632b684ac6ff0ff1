"""A Secret is used only with the label that permits the use, and no message holds a part of its value, in any form."""

from __future__ import annotations

import base64
import socket
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentpool_core.environment import redis_url
from agentpool_core.errors import (
    QueueAccessError,
    QueueError,
    QueueMemoryError,
    QueueReadOnlyError,
    QueueUnreachableError,
    SettingError,
    UnsupportedServerError,
)
from agentpool_core.jobs import PoolRef
from agentpool_core.kube.client import Cluster
from agentpool_core.kube.errors import NotThereError
from agentpool_core.queue.connection.error_translation import fault_of
from agentpool_core.redis_address import (
    Address,
    SecretError,
    address_of,
    connect_to,
    redis_of,
    without_address,
)
from agentpool_core.spec.queue import Redis

FROM_URL = Redis.model_validate({"urlFrom": {"secretKeyRef": {"name": "r"}}})
FROM_PASSWORD = Redis.model_validate({"url": "redis://h:6379/1", "passwordFrom": {"secretKeyRef": {"name": "r"}}})
LABELLED = {"agentpool.dev/redis": "true"}
MARKS = "QXZ"  # every secret below consists of these letters, and no message of ours contains them
SECRET = st.text(alphabet=f"{MARKS}qxz019-_.~:/?#[]@!$&'()*+,;=% \n\t\"\\", min_size=4).map(lambda text: f"QZ{text}XQ")
FORMS = st.sampled_from(
    ["{0}", "redis://{0}", "redis://:{0}@h", "redis://{0}:x@h/{0}", "rediss://h:{0}", "redis://h?{0}=1", "{0}://h",
     "redis://h?ssl_ca_certs={0}", "'{0}'", '"redis://:{0}@h"', "{0}\n{0}", "redis+sentinel://{0}", "unix://{0}",
     "redis+cluster://{0}@{0}", "-----BEGIN {0}", '{{"password": "{0}"}}', "redis://h/{0}", "redis://[{0}", "\0{0}",
     "redis://h?db={0}", "valkey://{0}?{0}"]
)  # fmt: skip


def secret(*, labels=None, **values: str | bytes):
    data = {key: base64.b64encode(v if isinstance(v, bytes) else v.encode()).decode() for key, v in values.items()}
    return {"metadata": {"labels": LABELLED if labels is None else labels}, "data": data}


@pytest.mark.parametrize("labels", [{}, {"agentpool.dev/redis": "false"}, {"agentpool.dev/redis": ""}, {"a": "true"}])
@pytest.mark.parametrize("redis", [FROM_URL, FROM_PASSWORD])
def test_a_secret_without_the_label_is_not_used(redis, labels):
    """The error contains the exact command for the owner of the Secret."""
    with pytest.raises(SecretError) as refused:
        address_of(redis, "ns", secret(labels=labels, url="redis://h", password="p"))
    assert refused.value.reason == "SecretNotLabelled"
    assert "kubectl --namespace ns label secret r agentpool.dev/redis=true" in str(refused.value)


def test_the_url_or_the_password_comes_from_the_secret():
    """White space around a URL is removed, and a password is encoded for the URL."""
    assert address_of(FROM_URL, "ns", secret(url=" redis://:p@h/1\n")).url == "redis://:p@h/1"
    address = address_of(FROM_PASSWORD, "ns", secret(password="p@/?#\n"))
    assert address.url == "redis://:p%40%2F%3F%23@h:6379/1"
    assert connect_to(address).connection_pool.connection_kwargs["password"] == "p@/?#"
    assert address_of(Redis(url="redis://h"), "ns", {}) == Address(url="redis://h", declared=True)


def test_a_message_names_the_server_by_the_url_of_the_agentpool():
    """A URL from a Secret is named by the Secret; a URL in the AgentPool is no secret, also beside a password."""
    address = address_of(FROM_PASSWORD, "ns", secret(password="p"))
    assert address.place == "h:6379"
    assert "p@h" not in str(address.without_secret(QueueUnreachableError("no answer from redis://:p@h")))
    assert "the address in key 'url' of Secret 'r'" in address_of(FROM_URL, "ns", secret(url="redis://h")).place


@pytest.mark.parametrize("given", [Redis(url="redis://h?hunter=1"), Redis(url="redis://h?ssl_ca_certs=/x")])
@pytest.mark.parametrize("password_from", [None, FROM_PASSWORD.password_from])
def test_an_unusable_url_in_the_agentpool_is_named_by_its_field(given, password_from):
    """The error has the field, the option and the remedy, and names no Secret."""
    redis = given.model_copy(update={"password_from": password_from})
    with pytest.raises(SettingError, match=r"^spec\.queue\.redis\.url: option (hunter|ssl_ca_certs): ") as refused:
        connect_to(address_of(redis, "ns", secret(password="p")))
    assert not isinstance(refused.value, SecretError)


async def test_a_secret_that_does_not_exist_is_named_with_the_remedy():
    """The command line and the gateway show the operator's message, not the API server's."""

    class Api(Cluster):
        async def agentpool(self, _pool):
            return {"spec": {"queue": {"redis": {"urlFrom": {"secretKeyRef": {"name": "r"}}}}}}

        async def get(self, path):
            raise NotThereError(request=f"GET {path}", status=404, message="not found")

    with pytest.raises(SecretError, match=r"^Secret 'r' in namespace 'ns': it does not exist; create it") as missing:
        await Api(None).redis_address(PoolRef("ns", "p"))
    assert missing.value.reason == "SecretNotFound"


def test_a_worker_puts_its_password_into_the_url_as_the_operator_does():
    """The kubelet sets the password as a separate variable; a URL with a password keeps that password."""
    environ = {"AGENTPOOL_REDIS_URL": "redis://h:6379/1", "AGENTPOOL_REDIS_PASSWORD": "p@\n"}
    assert redis_url(environ) == "redis://:p%40@h:6379/1"
    assert redis_url({**environ, "AGENTPOOL_REDIS_URL": "redis://:own@h"}) == "redis://:own@h"
    assert redis_url({"AGENTPOOL_REDIS_PASSWORD": "p"}) is None


@pytest.mark.parametrize(
    ("value", "reported"),
    [
        ("sk-1234", "may be a bare password"),
        ("'redis://h'", "quotation mark"),
        ("redis://h\nredis://i", "white space or control characters"),
        ("redis://h?hunter=1", "an option is unknown"),
        ("redis://h?ssl_ca_certs=/x", "use rediss:// for TLS"),
        ("redis://:p#ss@h", "must be %-encoded"),
        ("http://h", "its scheme is none of redis"),
        ("", "no such key, or it is empty"),
        (b"\xff\xfe", "not UTF-8 text"),
    ],
)
def test_the_kind_of_mistake_is_named(value, reported):
    """The error names the Secret and the key, so a person can correct the value without seeing the value."""
    with pytest.raises(SecretError, match=reported) as refused:
        address_of(FROM_URL, "ns", secret(url=value))
    assert "hunter" not in str(refused.value)
    for name in ("'url'", "'r'", "'ns'"):
        assert name in str(refused.value)


def refusal_of(redis, value):
    """The reason that this value of a Secret cannot be used; None: the value can be used."""
    try:
        connect_to(address_of(redis, "ns", secret(url=value, password=value)))
    except SettingError as error:
        return error
    return None


@given(form=FORMS, text=SECRET)
def test_no_part_of_a_secret_is_in_a_message(form, text):
    """The test covers a URL and a password, at the time of reading and of connecting."""
    value = form.format(text)
    for redis in (FROM_URL, FROM_PASSWORD):
        refused = refusal_of(redis, value)
        assert not set(MARKS) & set(f"{refused} {refused!r} {getattr(refused, 'value', None)}")
        assert getattr(refused, "__cause__", None) is None


def test_an_address_does_not_show_its_url():
    """Neither a log line nor a traceback with values shows the URL."""
    assert "redis" not in repr(Address(url="redis://:p@h"))


@pytest.mark.parametrize(
    ("error", "reported"),
    [
        (QueueAccessError("WRONGPASS QXZ"), "correct user and password"),
        (QueueReadOnlyError("QXZ"), "read-only replica"),
        (QueueMemoryError("QXZ"), "out of memory"),
        (UnsupportedServerError(version="QXZ", needed="6.2"), "too old; use Redis 6.2"),
        (QueueUnreachableError("QXZ"), "does not answer;"),
        (QueueError("QXZ"), "cannot be used"),
        (fault_of(ConnectionRefusedError(111, "QXZ"), doing="QXZ"), "does not answer;"),
    ],
)
def test_a_message_of_the_server_is_not_repeated(error, reported):
    """A server knows the password of the client, and may repeat the password; the error has a message of ours."""
    assert reported in str(without_address(error))
    assert not set(MARKS) & set(str(without_address(error)))


@pytest.mark.parametrize(
    ("cause", "reported"),
    [
        (ConnectionRefusedError(111, "QXZ"), "(Connection refused)"),
        (socket.gaierror(-2, "QXZ"), "(its host name is not known)"),
        (ssl.SSLError(1, "QXZ"), "(TLS failed)"),
    ],
)
def test_the_systems_message_for_a_lost_connection_is_shown(cause, reported):
    """The message helps to find the fault and holds neither host nor port."""
    error = QueueUnreachableError("QXZ")
    error.__cause__ = cause
    assert reported in str(without_address(error))
    assert not set(MARKS) & set(str(without_address(error)))


@pytest.mark.parametrize(
    "redis",
    [
        {"url": "redis://h", "urlFrom": {"secretKeyRef": {"name": "r"}}},
        {"urlFrom": {"secretKeyRef": {"name": "../../victim/secrets/api-key"}}},
        {"passwordFrom": {"secretKeyRef": {"name": "r"}}},
        {"url": "redis://:QXZ@h"},
        "QXZ",
    ],
)
def test_a_spec_that_is_older_than_the_schema_is_checked_again(redis):
    """The gateway reads AgentPools as they are stored, and shows nothing of a URL."""
    with pytest.raises(SettingError, match=r"^spec\.queue\.redis: ") as refused:
        redis_of({"spec": {"queue": {"redis": redis}}})
    assert not set(MARKS) & set(str(refused.value))


def test_a_newer_agentpool_is_read_without_new_fields():
    """A gateway that is older than the resource definition serves the pools."""
    assert redis_of({"spec": {"queue": {"redis": {"url": "redis://h", "later": 1}}}}).url == "redis://h"
    assert redis_of({"spec": {}}).url_from.secret_key_ref.name == "agentpool-redis"
