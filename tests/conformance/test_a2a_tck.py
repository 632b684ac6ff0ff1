"""The protocol's own Technology Compatibility Kit, against a real gateway and a real worker: `make tck`.

`tools/tck.sh` brings the kit, and names its checkout, its interpreter and the place of the report in the environment.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from pathlib import Path

import pytest

from tests.fixtures.gateways import ADMIN

FIXTURES = Path(__file__).parents[1] / "fixtures"
LEAST_PASSED = Counter({"MUST": 83, "SHOULD": 7, "MAY": 4})  # requirements; the rest are skipped or have no test


@pytest.mark.timeout(600)
async def test_the_gateway_passes_the_compatibility_kit(gateway_factory, delivering, pool, workers):
    """Every requirement that the kit tests in a served binding passes, whatever its level, and none is left out."""
    workers.start(app="tck_app:app")
    gateway = await gateway_factory(**delivering | {"webhook_hosts": ("localhost", "example.com")})  # of the kit
    agent = f"{gateway.url}/v1/namespaces/{pool.namespace}/pools/{pool.name}/a2a"
    report = Path(os.environ["TCK_REPORT"])
    run = await asyncio.create_subprocess_exec(
        os.environ["TCK_PYTHON"],
        *("-m", "pytest", "tests/compatibility", f"--sut-host={agent}", "--tb=short", "-q", "-p", "tck_token"),
        *("--transport=jsonrpc,http_json", f"--compatibility-report={report}", "-p", "no:cacheprovider"),
        cwd=os.environ["A2A_TCK"],
        env={**os.environ, "TCK_TOKEN": ADMIN, "PYTHONPATH": str(FIXTURES / "tck")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await run.communicate()
    assert report.with_suffix(".json").exists(), output.decode()[-5_000:]
    requirements = json.loads(report.with_suffix(".json").read_text())["per_requirement"]
    failed = {name: found["errors"][:1] for name, found in requirements.items() if found["status"] == "FAIL"}
    assert not failed, failed
    passed = Counter(found["level"] for found in requirements.values() if found["status"] == "PASS")
    assert passed >= LEAST_PASSED, "the kit has left out requirements"
