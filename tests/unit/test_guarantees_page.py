"""The figures of docs/guarantees.md are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from agentpool_core import errors
from agentpool_core.spec import AgentPoolSpec
from agentpool_operator.settings import ElectionSettings
from agentpool_worker.supervision import restarts

ROOT = Path(__file__).resolve().parents[2]
PAGE = " ".join((ROOT / "docs/guarantees.md").read_text().split())


def test_the_defaults_of_a_pool_are_as_stated():
    """Lease, timeout, drain, attempts, backoff and retention."""
    spec = AgentPoolSpec.model_validate({"handler": {"command": {"argv": ["true"]}}})
    queue = spec.queue
    assert f"a lease of {queue.lease_seconds} s" in PAGE
    assert f"a timeout of {queue.timeout_seconds} s" in PAGE
    assert f"{spec.worker.drain_seconds} s for a drain" in PAGE
    assert f"`spec.queue.retry.maxAttempts` attempts ({queue.retry.max_attempts} by default)" in PAGE
    assert f"A pause of {queue.retry.initial_seconds} s that doubles up to {queue.retry.max_seconds} s" in PAGE
    assert ("(a day)" in PAGE) == (queue.retention_seconds.results == 86_400)


def test_the_times_of_a_takeover_and_a_restart_are_as_stated():
    """The chart runs two operators and two gateways, as stated."""
    election = ElectionSettings()
    assert f"takes over within {election.lease_s + election.retry_s:g} s" in PAGE
    first, longest = restarts._FIRST_PAUSE_SECONDS, restarts._LONGEST_PAUSE_SECONDS
    assert f"after {first:g} s, which reports the crash; after several crashes the pause grows to {longest:g} s" in PAGE
    values = yaml.safe_load((ROOT / "charts/agentpool/values.yaml").read_text())
    assert [values[part]["replicas"] for part in ("operator", "gateway")] == [2, 2]


def test_the_errors_exist():
    """Each class that the page names is public."""
    named = re.findall(r"`(\w+Error)`", PAGE)
    assert named
    assert [name for name in named if not hasattr(errors, name)] == []
