"""The queue over TLS, with a certificate made for the test."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from agentpool_core.errors import QueueUnreachableError, SettingError
from agentpool_core.jobs import JobRequest, PoolRef, WorkerId
from agentpool_core.queue import Consumer, Inspector, PoolSettings, Producer, check_server, connect
from tests.fixtures.redis import free_port, server_binary

POOL = PoolRef("test", "tls")


@pytest.fixture
def certificate(tmp_path):
    """A key and a certificate for 127.0.0.1, signed by itself."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificate, is absent")
    key, made = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", made, "-days", "1",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    return key, made


def speaks_tls(binary):
    """Return whether a server was built with TLS.

    Without a key, such a server exits at once and reports the missing key.
    """
    command = [binary, "--port", "0", "--tls-port", str(free_port()), "--tls-cert-file", "nowhere"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=10, check=False)
    said = done.stdout
    return "Bad directive" not in said and "TLS support" not in said


@pytest.fixture
def tls_port(certificate, redis_server_factory):
    """The port of a server that accepts only TLS clients that trust its certificate."""
    binaries = filter(None, (server_binary(), shutil.which("redis-server")))
    binary = next(filter(speaks_tls, binaries), None)
    if binary is None:
        pytest.skip(f"{server_binary()} was built without TLS, and there is no redis-server beside it")
    key, made = certificate
    port = free_port()
    redis_server_factory(
        "--tls-port", str(port), "--tls-cert-file", str(made), "--tls-key-file", str(key),
        "--tls-ca-cert-file", str(made), "--tls-auth-clients", "no", binary=binary,
    )  # fmt: skip
    return port


@pytest.mark.parametrize("scheme", ["rediss", "valkeys"])
async def test_a_job_runs_over_tls(tls_port, certificate, scheme):
    """Submit, wait and claim work over a connection with a verified certificate."""
    redis = connect(f"{scheme}://127.0.0.1:{tls_port}/0?ssl_ca_certs={certificate[1]}")
    assert await check_server(redis)
    await Inspector(redis).configure(POOL, PoolSettings())
    consumer = Consumer(redis, POOL, WorkerId("w"))
    await consumer.register(slots=1, host="h")
    receipt = await Producer(redis, POOL).submit(JobRequest(kind="x"))
    _, (lease,) = await consumer.wait_and_claim(1_000, 1)
    assert lease.job_id == receipt.job_id
    await redis.aclose()


async def test_an_unknown_certificate_is_refused(tls_port):
    """Without the authority's certificate the client sends nothing."""
    redis = connect(f"rediss://127.0.0.1:{tls_port}/0")
    with pytest.raises(QueueUnreachableError):
        await check_server(redis)
    await redis.aclose()


async def test_valkey_urls_mean_the_same(redis_server):
    """valkey:// equals redis://, and every unknown scheme is still refused by name."""
    redis = connect(redis_server.tcp_url.replace("redis", "valkey", 1))
    assert await check_server(redis)
    await redis.aclose()
    with pytest.raises(SettingError, match="scheme"):
        connect("valkeyx://127.0.0.1")
