"""Secrets of any form, read by a real operator and a gateway: no part of a Secret is in a status, event, log or answer.

`AGENTPOOL_FUZZ_CASES` sets the number of drawn values beside the values in this file (a slice by default).
"""

from __future__ import annotations

import base64
import json
import logging
import os
from contextlib import AsyncExitStack

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from agentpool_core.kube import paths
from agentpool_core.kube.connection import open_cluster
from agentpool_gateway.access.authority import AllowAll
from agentpool_gateway.app import build
from agentpool_gateway.pools.locations import DeclaredRedis
from agentpool_gateway.settings import GatewaySettings
from tests.fixtures.gateways import serving
from tests.fixtures.hostile import hostile_redis
from tests.fixtures.redis import wait_until

CASES = min(int(os.environ.get("AGENTPOOL_FUZZ_CASES", "25")), 2_000)
MARK = "QXZQ"  # part of every value, and of no other text
WITHIN_SECONDS = 60.0
TEXTS = st.text(alphabet="abQXZ019-_.~:/?#[]@!$&'()*+,;=% \n\t\"\\é", max_size=12).map(lambda text: f"{MARK}{text}")
FORMS = st.sampled_from(
    ["{0}", "redis://{0}", "redis://:{0}@127.0.0.1:1/0", "redis://{0}:{0}@127.0.0.1:1", "redis://127.0.0.1:{0}",
     "redis://127.0.0.1?{0}=1", "{0}://127.0.0.1", "rediss://127.0.0.1:1?ssl_ca_certs={0}", "'{0}'", "{0}\n{0}",
     "redis+sentinel://127.0.0.1:1/{0}", "unix:///{0}", "valkey://{0}.invalid:1", "\0{0}", "redis://127.0.0.1:1/{0}"]
)  # fmt: skip


def drawn() -> list[bytes]:
    """Draw values of Secrets."""
    found: list[bytes] = [b"sk-%s" % MARK.encode(), b"\xff\xfe" + MARK.encode(), json.dumps({"k": MARK}).encode()]

    @settings(max_examples=CASES, database=None, suppress_health_check=list(HealthCheck), phases=(Phase.generate,))
    @given(form=FORMS, text=TEXTS)
    def collect(form, text):
        found.append(form.format(text).encode())

    collect()
    return found


def echoing(command: list[bytes]) -> bytes:
    """Start a server that repeats the received text, passwords included."""
    return b"-WRONGPASS %s\r\n" % b" ".join(command).replace(b"\r", b"").replace(b"\n", b"")[:500]


@pytest.mark.timeout(600)
async def test_no_piece_of_a_secret_is_seen(start_operator, pool_of, look, cluster, namespace, api_kubeconfig, caplog):
    """Each value is in one Secret, as URL and as password; a server repeats the received text as an error."""
    caplog.set_level(logging.DEBUG)
    operator = start_operator("--log-level", "debug")
    async with AsyncExitStack() as stack:
        echo = (await stack.enter_async_context(hostile_redis(echoing))).removeprefix("redis://")
        values = [*drawn(), f"redis://:{MARK}@{echo}".encode(), f"redis://{MARK}:{MARK}@{echo}".encode()]
        names = [f"s{number}" for number in range(len(values))]
        for name, value in zip(names, values, strict=True):
            await keep(cluster, namespace, name, value)
            await pool_of(name, redis={"urlFrom": {"secretKeyRef": {"name": name, "key": "value"}}})
            source = {"secretKeyRef": {"name": name, "key": "value"}}
            await pool_of(f"p{name}", redis={"url": f"redis://{echo}", "passwordFrom": source})
        pools = [*names, *(f"p{name}" for name in names)]

        async def reported() -> bool:
            found = [await look.condition("QueueReachable", name) for name in pools]
            return all(condition is not None and condition[0] == "False" for condition in found)

        await wait_until(reported, f"each pool is reported\n{operator.written()[-2000:]}", within_s=WITHIN_SECONDS)
        answers = await asked(stack, api_kubeconfig, namespace, pools)
    resources, _ = await cluster.list(paths.agentpools(namespace))
    events, _ = await cluster.list(paths.events(namespace))
    seen = {
        "statuses": json.dumps([resource.get("status") for resource in resources], ensure_ascii=False),
        "events": json.dumps(events, ensure_ascii=False),
        "the operator's log": operator.written(),
        "answers": answers,
        "the gateway's log": caplog.text,
    }
    assert "SecretKeyMissing" not in seen["statuses"]
    for place, text in seen.items():
        at = text.find(MARK)
        assert at < 0, f"{place} show a secret: {text[max(0, at - 300) : at + 100]}"


async def keep(cluster, namespace, name: str, value: bytes) -> None:
    """Create a Secret that pools may use."""
    labels = {"agentpool.dev/redis": "true"}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": labels},
        "data": {"value": base64.b64encode(value).decode()},
    }
    await cluster.create(paths.resource(paths.CORE, "secrets", namespace=namespace), secret)


async def asked(stack: AsyncExitStack, kubeconfig, namespace: str, pools: list[str]) -> str:
    """Return all answers of a gateway about these pools."""
    connection = await stack.enter_async_context(open_cluster(kubeconfig))
    app = build(GatewaySettings(), DeclaredRedis(connection, cache_s=0), AllowAll(), connection)
    served = await stack.enter_async_context(serving(app, GatewaySettings()))
    client = await stack.enter_async_context(served.client(None))
    found = []
    for name in pools:
        at = f"/v1/namespaces/{namespace}/pools/{name}"
        for answer in (await client.get(f"{at}/queue"), await client.post(f"{at}/jobs", json={"kind": "greet"})):
            assert answer.status_code >= 400
            found.append(f"{answer.status_code} {dict(answer.headers)} {answer.text}")
    return "\n".join(found)
