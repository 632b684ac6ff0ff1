"""From a spec to the queue's settings."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from agentpool_core.jobs import Durability
from agentpool_core.queue.limits import Budget, Limit, LimitBy, Rate, RateUnit
from agentpool_core.queue.schedule import Missed, Overlap, Schedule
from agentpool_core.queue.settings import AdaptiveMode, PoolSettings, Route
from agentpool_core.spec import AgentPoolSpec, settings_of
from agentpool_core.spec.queue import LimitSpec, SubmitDurability
from agentpool_core.spec.schedule import ScheduleSpec

HANDLER = {"handler": {"python": {"app": "analyst:app"}}}


def spec(**fields: object) -> AgentPoolSpec:
    """A spec in the form that a user writes."""
    return AgentPoolSpec.model_validate(HANDLER | fields)


def test_costs_of_a_route_reach_the_queue():
    """A route's cost is a setting of its own; a plain route has none, and a settings hash is read back as it was."""
    routes = [{"name": "big", "resources": {"gpuMemoryMib": 40}}, {"name": "wide", "resources": {"slots": 3}}]
    settings = settings_of(spec(routes=[*routes, {"name": "plain"}], worker={"gpuMemoryMib": 80}))
    mapping = settings.to_mapping()
    assert (mapping["cost:big"], mapping["cost:wide"], mapping.get("cost:plain")) == ("1 40", "3 0", None)
    assert PoolSettings.from_mapping(mapping) == settings


@pytest.mark.parametrize(
    ("workload", "profile", "slots"),
    [
        ("Workflow", "Default", 10),
        ("Workflow", "HighThroughput", 50),
        ("Workflow", "LowResource", 2),
        ("Task", "Default", 20),
        ("Task", "HighThroughput", 100),
        ("Task", "LowResource", 5),
        ("Agent", "Default", 5),
        ("Agent", "HighThroughput", 20),
        ("Agent", "LowResource", 2),
    ],
)
def test_presets_are_the_designs(workload: str, profile: str, slots: int):
    """Workload and profile pick the slots of a worker."""
    assert settings_of(spec(workload=workload, profile=profile)).concurrency == slots


def test_an_explicit_concurrency_wins():
    """The user's value replaces the preset."""
    assert settings_of(spec(workload="Task", worker={"concurrency": 7})).concurrency == 7


def test_a_spec_with_only_a_handler_has_every_setting():
    """Everything but the handler has a default, and seconds become milliseconds."""
    settings = settings_of(spec())
    assert settings.lease_ms == 10_000
    assert settings.ttl_info_ms == 3_600_000
    assert settings.ttl_task_ms is None
    assert settings.routes == (Route(name="default"),)


def test_waits_keep_short_rests_and_may_be_endless_by_default():
    """Both rules of waits reach the workers."""
    default, strict = settings_of(spec()), settings_of(spec(queue={"waits": {"keepSeconds": 5, "endless": "Refuse"}}))
    assert (default.keep_wait_ms, default.refuse_endless_waits) == (1_000, False)
    assert (strict.keep_wait_ms, strict.refuse_endless_waits) == (5_000, True)


def test_kinds_that_no_route_lists_are_taken_unless_the_spec_refuses_them():
    """A pool is open by default."""
    routes = [{"name": "code", "kinds": ["review"]}]
    assert not settings_of(spec(routes=routes)).refuse_unlisted_kinds
    assert settings_of(spec(routes=routes, queue={"unlistedKinds": "Refuse"})).refuse_unlisted_kinds


def test_the_durability_of_a_pool_is_the_default_of_its_submits():
    """Each choice of the resource is a choice of a submit; unset, a submit is local."""
    assert settings_of(spec()).durability is Durability.LOCAL
    for choice in SubmitDurability:
        settings = settings_of(spec(queue={"durability": choice.value}))
        assert settings.durability == choice.lower()
        assert PoolSettings.from_mapping(settings.to_mapping()).durability is settings.durability


def test_an_unset_adaptive_ceiling_is_the_high_throughput_preset():
    """Growing stops at the workload's HighThroughput figure, unless the spec sets a ceiling."""
    assert settings_of(spec(worker={"adaptive": {"mode": "GPU"}})).adaptive_max == 20
    assert settings_of(spec(worker={"adaptive": {"mode": "GPU", "max": 9}})).adaptive_max == 9


def test_settings_survive_redis():
    """A worker reads the settings that the operator publishes."""
    settings = settings_of(
        spec(
            routes=[{"name": "code", "kinds": ["write", "fix"], "maxRunning": 2}, {"name": "text"}],
            worker={"adaptive": {"mode": "Overload", "min": 2}},
            paused=True,
            deletionPolicy="Delete",
        )
    )
    mapping = settings.to_mapping()
    assert PoolSettings.from_mapping(mapping) == settings
    assert mapping["route:fix"] == "code"
    assert mapping["limit:code"] == "2"
    assert settings.adaptive_mode is AdaptiveMode.OVERLOAD
    assert settings.route_of("fix") == "code"
    assert settings.route_of("unheard-of") == "default"


def test_the_revision_follows_the_settings():
    """Two pools have the same revision exactly when their settings are the same."""
    assert settings_of(spec()).revision == settings_of(spec()).revision
    assert settings_of(spec()).revision != settings_of(spec(paused=True)).revision


def test_an_unknown_field_is_refused_by_name():
    """A typo is refused, also if no API server prunes the field."""
    with pytest.raises(ValidationError, match="minReplica"):
        spec(scaling={"minReplica": 1})


def test_limits_are_resolved_to_milliseconds():
    """A limit keeps the scope; a rate's period is in milliseconds."""
    limits = [
        {"name": "per-customer", "by": "key", "maxRunning": 2},
        {"name": "provider-rpm", "kinds": ["plan"], "rate": {"count": 500, "burst": 5}},
        {"name": "provider-tpm", "rate": {"tokens": 90_000}},
        {"name": "team", "by": "tenant", "budget": {"amount": 100}},
    ]
    tokens = Rate(count=90_000, period_ms=60_000, burst=90_000, unit=RateUnit.TOKENS)
    assert settings_of(spec(queue={"limits": limits})).limits == (
        Limit(name="per-customer", by=LimitBy.KEY, max_running=2),
        Limit(name="provider-rpm", kinds=("plan",), rate=Rate(count=500, period_ms=60_000, burst=5)),
        Limit(name="provider-tpm", rate=tokens),
        Limit(name="team", by=LimitBy.TENANT, budget=Budget(amount=100, window_ms=86_400_000)),
    )


def test_a_rate_counts_starts_or_tokens():
    """A rate of both or neither is refused; a route has the tokens of its jobs."""
    for rate in ({}, {"count": 1, "tokens": 1}):
        with pytest.raises(ValidationError, match="exactly one of count and tokens"):
            spec(queue={"limits": [{"name": "both", "rate": rate}]})
    settings = settings_of(spec(routes=[{"name": "a", "kinds": ["k"], "tokens": 2_000}]))
    assert settings.find_route("a").tokens == 2_000
    assert PoolSettings.from_mapping(settings.to_mapping()) == settings


@pytest.mark.parametrize(
    "measures", [{}, {"maxRunning": 1, "rate": {"count": 1}}, {"maxRunning": 1, "budget": {"amount": 1}}]
)
def test_a_limit_has_exactly_one_measure(measures):
    """A limit without a measure is refused, and so is a limit with two."""
    with pytest.raises(ValidationError, match="exactly one of maxRunning, rate and budget"):
        LimitSpec.model_validate({"name": "a", **measures})


def test_a_budget_of_nothing_is_refused_with_a_remedy():
    """A resource from before the rule is refused by the operator too."""
    with pytest.raises(ValidationError, match="a budget must be more than 0; raise the amount, or cancel the jobs"):
        LimitSpec.model_validate({"name": "a", "budget": {"amount": 0}})


def test_schedules_are_resolved_to_milliseconds():
    """A schedule keeps its expression, zone and policies; an interval is in milliseconds."""
    schedules = [
        {"name": "report", "kind": "greet", "cron": "30 6 * * 1-5", "timeZone": "Europe/Berlin", "overlap": "Skip"},
        {"name": "probe", "kind": "check", "everySeconds": 30, "payload": {"a": 1}, "missed": "All", "suspend": True},
    ]
    assert settings_of(spec(schedules=schedules)).schedules == (
        Schedule(
            name="report",
            kind="greet",
            cron="30 6 * * 1-5",
            time_zone="Europe/Berlin",
            payload={},
            overlap=Overlap.SKIP,
        ),
        Schedule(name="probe", kind="check", every_ms=30_000, payload={"a": 1}, missed=Missed.ALL, suspended=True),
    )


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, "exactly one of cron and everySeconds"),
        ({"cron": "0 0 * * *", "everySeconds": 5}, "exactly one of cron and everySeconds"),
        ({"cron": "99 * * * *"}, "99"),
        ({"cron": "0 0 * * *", "timeZone": "Mars/Olympus"}, "Mars/Olympus"),
    ],
)
def test_a_schedule_that_is_never_due_is_refused(fields, named):
    """The message names the field or the value."""
    with pytest.raises(ValidationError, match=named):
        ScheduleSpec.model_validate({"name": "a", "kind": "k", **fields})


def test_a_schema_belongs_to_the_kinds_of_its_route():
    """A kind has its own schemas, else those of its route; a wrong schema, kind or schedule is refused by its place."""
    text = {"type": "string"}
    route = {
        "name": "a",
        "kinds": ["x", "y"],
        "schema": {"input": text},
        "kindSchemas": [{"kind": "y", "output": text}],
    }
    settings = settings_of(spec(routes=[route]))
    assert settings.schema_of("x").input == '{"type":"string"}'
    assert (settings.schema_of("y").input, settings.schema_of("y").output) == (None, '{"type":"string"}')
    assert settings.schema_of("z").input is None
    schedule = {"name": "s", "kind": "x", "everySeconds": 60, "payload": {}}
    for change, problem in (
        ({"routes": [route | {"schema": {"input": {"$ref": "file:///etc/passwd"}}}]}, "not a definition"),
        ({"routes": [route | {"kinds": []}]}, "add kinds"),
        ({"routes": [route | {"kinds": ["x"]}]}, "'y', which kinds does not list"),
        ({"routes": [route], "schedules": [schedule]}, r"schedules\.0\.payload"),
    ):
        with pytest.raises(ValidationError, match=problem):
            spec(**change)
