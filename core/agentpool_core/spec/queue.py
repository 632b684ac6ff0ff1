"""The queue of a pool: Redis, routes, and the rules for waiting, failing and retention."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints, model_validator

from agentpool_core.jobs import LONGEST_SUBJECT, SUBJECT_PATTERN
from agentpool_core.queue.limits import LimitBy
from agentpool_core.spec.base import DAY_SECONDS, MAX_INT32, SUBDOMAIN_PATTERN, Kind, Rule, SpecModel
from agentpool_core.spec.routes import MAX_KINDS, MAX_ROUTES, RouteName

YEAR_SECONDS = 31_536_000
MAX_LIMITS = 16
MAX_TENANTS = 256
MAX_BUDGET = 1_000_000  # whole billionths of it are exact numbers in scripts

ObjectName = Annotated[str, StringConstraints(pattern=SUBDOMAIN_PATTERN, max_length=253)]
DataKey = Annotated[str, StringConstraints(pattern=r"^\.?[A-Za-z0-9_-][A-Za-z0-9._-]*$", max_length=253)]


class RateSpec(SpecModel):
    """Starts or tokens in a period, over all workers: exactly one of count and tokens."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            holds="has(self.count) != has(self.tokens)",
            message="a rate must hold exactly one of count and tokens; remove one or add one",
        ),
    )

    count: int | None = Field(default=None, ge=1, le=MAX_INT32, description="Jobs that may start in a period.")
    tokens: int | None = Field(
        default=None,
        ge=1,
        le=MAX_INT32,
        description=(
            "Tokens of models that jobs may use in a period: the tokens that a job is expected to use count from its "
            "start, until its handler has reported its usage (ctx.usage)."
        ),
    )
    period_seconds: int = Field(default=60, ge=1, le=DAY_SECONDS, description="Length of the period, in seconds.")
    burst: int | None = Field(
        default=None,
        ge=1,
        le=MAX_INT32,
        description=(
            "Jobs that may start, or tokens that may be used, at once after a pause. The others follow evenly over the "
            "period, so that no period sees more than count + burst - 1 starts. A job of more tokens starts when all "
            "are free. Unset: 1 job, or the tokens of a period."
        ),
    )

    @model_validator(mode="after")
    def _check_rules(self) -> RateSpec:
        """Check the rule above again: a resource may be older than the rule."""
        if (self.count is None) == (self.tokens is None):
            raise ValueError(self.rules[0].message)
        return self


class BudgetSpec(SpecModel):
    """Money in a window, over all workers."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            holds="self.amount > 0",
            message="a budget must be more than 0; raise the amount, or cancel the jobs that must not run",
            field=".amount",
        ),
    )

    amount: int = Field(
        ge=0,
        le=MAX_BUDGET,
        description=(
            "Money that jobs may spend in a window, in the unit that the handlers report (ctx.usage). Once it is "
            "spent, no further job starts, and ctx.charge refuses further calls."
        ),
    )
    window_seconds: int = Field(
        default=DAY_SECONDS,
        ge=60,
        le=YEAR_SECONDS,
        description="Length of a window, in seconds. Windows follow each other since 1970: days begin at midnight UTC.",
    )

    @model_validator(mode="after")
    def _check_rules(self) -> BudgetSpec:
        """Check the rule above again: a resource may be older than the rule."""
        if self.amount <= 0:
            raise ValueError(self.rules[0].message)
        return self


class LimitSpec(SpecModel):
    """A bound for jobs of some kinds and routes, over all workers: exactly one of maxRunning, rate and budget."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            holds="(has(self.maxRunning) ? 1 : 0) + (has(self.rate) ? 1 : 0) + (has(self.budget) ? 1 : 0) == 1",
            message="a limit must hold exactly one of maxRunning, rate and budget; remove the others or add one",
        ),
    )

    name: RouteName = Field(description="The limit's name, in reports and reasons.")
    by: LimitBy | None = Field(
        default=None,
        description=(
            "Gives each key or each tenant of a job a limit of its own; jobs without one are not limited. Unset: one "
            "limit for all jobs."
        ),
    )
    kinds: list[Kind] = Field(
        default_factory=list,
        max_length=MAX_KINDS,
        description="Kinds of job that the limit applies to. Empty: all kinds.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    routes: list[RouteName] = Field(
        default_factory=list,
        max_length=MAX_ROUTES,
        description="Routes that the limit applies to. Empty: all routes.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    max_running: int | None = Field(default=None, ge=1, le=MAX_INT32, description="Jobs that run at once.")
    rate: RateSpec | None = Field(default=None, description="Jobs that start, or tokens that jobs use, in a period.")
    budget: BudgetSpec | None = Field(default=None, description="Money that jobs spend in a window.")

    @model_validator(mode="after")
    def _check_rules(self) -> LimitSpec:
        """Check the rule above again: a resource may be older than the rule."""
        if sum(measure is not None for measure in (self.max_running, self.rate, self.budget)) != 1:
            raise ValueError(self.rules[0].message)
        return self


class TenantSpec(SpecModel):
    """A tenant whose share of the slots differs from the others'."""

    name: Annotated[str, StringConstraints(pattern=f"^{SUBJECT_PATTERN}$", max_length=LONGEST_SUBJECT)] = Field(
        description="The tenant, as jobs name it."
    )
    weight: int = Field(
        default=1,
        ge=1,
        le=1000,
        description="Share of the starts while other tenants wait: weight 2 starts twice as many jobs as weight 1.",
    )


class SecretKeyRef(SpecModel):
    """A key of a Secret in the pool's namespace."""

    name: ObjectName = Field(description="Name of the Secret.")
    key: DataKey = Field(default="url", description="Key in the Secret's data.")


class UrlSource(SpecModel):
    """Source of the Redis URL."""

    secret_key_ref: SecretKeyRef = Field(description="A key of a Secret in the pool's namespace.")


class PasswordKeyRef(SecretKeyRef):
    """A key of a Secret in the pool's namespace."""

    key: DataKey = Field(default="password", description="Key in the Secret's data.")


class PasswordSource(SpecModel):
    """Source of the Redis password."""

    secret_key_ref: PasswordKeyRef = Field(description="A key of a Secret in the pool's namespace.")


class Redis(SpecModel):
    """The Redis or Valkey server that holds the pool's queue."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            holds="has(self.url) != has(self.urlFrom)",
            message="redis must hold exactly one of url and urlFrom; remove one or add one",
        ),
        Rule(
            holds="!has(self.url) || !self.url.contains('@')",
            message="url must not carry credentials; put the URL into a Secret and name it in urlFrom.secretKeyRef",
            field=".url",
        ),
        Rule(
            holds="!has(self.passwordFrom) || has(self.url)",
            message="passwordFrom needs a url; add one, or put the password into the URL that urlFrom names",
            field=".passwordFrom",
        ),
    )

    url: Annotated[str, StringConstraints(pattern=r"^(rediss?|valkeys?)://", max_length=2048)] | None = Field(
        default=None,
        description="URL without credentials, such as redis://redis.data.svc:6379/0 (rediss:// for TLS).",
    )
    url_from: UrlSource | None = Field(
        default=None, description='Reads the URL from a Secret labelled agentpool.dev/redis: "true".'
    )
    password_from: PasswordSource | None = Field(
        default=None,
        description='Reads the password for `url` from a Secret labelled agentpool.dev/redis: "true".',
    )

    @model_validator(mode="after")
    def _check_rules(self) -> Redis:
        """Check the rules above again: a resource may be older than the rules."""
        url = self.url or ""
        broken = [
            rule.message
            for rule, holds in zip(
                self.rules,
                ((self.url is None) != (self.url_from is None), "@" not in url, not self.password_from or bool(url)),
                strict=True,
            )
            if not holds
        ]
        if broken:
            raise ValueError(broken[0])
        return self


DEFAULT_SECRET = SecretKeyRef(name="agentpool-redis")
DEFAULT_REDIS = Redis(url_from=UrlSource(secret_key_ref=DEFAULT_SECRET))


class Patience(SpecModel):
    """Time that a priority waits before its jobs overtake fresh jobs of a higher priority, in seconds."""

    critical: int = Field(default=0, ge=0, le=DAY_SECONDS, description="Patience of critical jobs, in seconds.")
    task: int = Field(default=60, ge=0, le=DAY_SECONDS, description="Patience of task jobs, in seconds.")
    info: int = Field(default=600, ge=0, le=DAY_SECONDS, description="Patience of info jobs, in seconds.")


class Ttl(SpecModel):
    """Longest wait of a job before expiry, in seconds; the ttl of the job overrides this value."""

    critical: int | None = Field(
        default=None, ge=1, le=YEAR_SECONDS, description="For critical jobs, in seconds. Unset: for ever."
    )
    task: int | None = Field(
        default=None, ge=1, le=YEAR_SECONDS, description="For task jobs, in seconds. Unset: for ever."
    )
    info: int | None = Field(default=3600, ge=1, le=YEAR_SECONDS, description="For info jobs, in seconds.")


class Retry(SpecModel):
    """Retries of failed attempts: exponential backoff with jitter."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            # has(): the API server checks the default `{}` before the defaults below it apply
            holds=("!has(self.initialSeconds) || !has(self.maxSeconds) || self.initialSeconds <= self.maxSeconds"),
            message="initialSeconds must not exceed maxSeconds; lower the first or raise the second",
            explain=(
                "'initialSeconds (%d) must not exceed maxSeconds (%d); lower the first or raise the second'"
                ".format([self.initialSeconds, self.maxSeconds])"
            ),
            field=".initialSeconds",
        ),
    )

    max_attempts: int = Field(
        default=5,
        ge=1,
        le=100,
        description="Largest number of attempts. A drain or a preemption does not count; the loss of a worker counts.",
    )
    initial_seconds: int = Field(
        default=1, ge=0, le=DAY_SECONDS, description="First backoff, in seconds; doubled with each attempt."
    )
    max_seconds: int = Field(default=300, ge=0, le=DAY_SECONDS, description="Longest backoff, in seconds.")


class Retention(SpecModel):
    """Retention of ended jobs, in seconds."""

    results: int = Field(
        default=86_400, ge=1, le=YEAR_SECONDS, description="Succeeded, cancelled and expired jobs, in seconds."
    )
    dead: int = Field(default=604_800, ge=1, le=YEAR_SECONDS, description="Dead letters, in seconds.")


class UnlistedKinds(StrEnum):
    """Treatment of a job with a kind that no route lists."""

    ACCEPT = "Accept"  # the job takes the route `default`
    REFUSE = "Refuse"  # the submit fails with a list of the accepted kinds


class EndlessWaits(StrEnum):
    """Treatment of a handler that waits for a signal without a timeout."""

    ACCEPT = "Accept"  # the job waits until the signal comes
    REFUSE = "Refuse"  # the job fails for good, with the remedy


class SubmitDurability(StrEnum):
    """Where a submitted job must be before the submit returns."""

    LOCAL = "Local"  # in the memory of the primary, as its settings keep it
    FSYNC = "Fsync"  # on the disk of the primary
    REPLICA = "Replica"  # in the memory of at least one replica


class Waits(SpecModel):
    """Waits of handlers for signals and times."""

    keep_seconds: int = Field(
        default=1,
        ge=0,
        le=3600,
        description=(
            "A wait with at most this time left keeps its handler and its slot, in seconds. After a longer wait the "
            "handler starts again from the top."
        ),
    )
    endless: EndlessWaits = Field(
        default=EndlessWaits.ACCEPT,
        description="Treatment of a wait for a signal without a timeout: taken (Accept), or failure for good (Refuse).",
    )


class Queue(SpecModel):
    """The Redis that holds the jobs, the limits of the queue, and the handling of failed jobs."""

    redis: Redis = Field(
        default=DEFAULT_REDIS, description="The Redis (6.2 or later) or Valkey server that holds the queue."
    )
    durability: SubmitDurability = Field(
        default=SubmitDurability.LOCAL,
        description=(
            "Where a job must be before its submit returns, unless the submit chooses: in the memory of Redis (Local), "
            "on its disk (Fsync; needs an append-only file and Redis 7.2 or later, or Valkey), or on a replica "
            "(Replica)."
        ),
    )
    unlisted_kinds: UnlistedKinds = Field(
        default=UnlistedKinds.ACCEPT,
        description="Treatment of kinds that no route lists: the route `default` (Accept), or refusal (Refuse).",
    )
    limits: list[LimitSpec] = Field(
        default_factory=list,
        max_length=MAX_LIMITS,
        description=(
            "Limits over all workers: jobs at once, or starts in a period, for some kinds and routes, and for each key "
            "or tenant. A job that a limit holds does not block the jobs behind it."
        ),
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    tenants: list[TenantSpec] = Field(
        default_factory=list,
        max_length=MAX_TENANTS,
        description=(
            "Weights of tenants. Tenants of one route and priority share the starts by weight; a tenant that is not "
            "listed has weight 1."
        ),
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    max_depth: int = Field(
        default=100_000,
        ge=1,
        le=MAX_INT32,
        description="Largest number of waiting jobs; further submits are refused with a time for the retry.",
    )
    patience_seconds: Patience = Field(
        default_factory=Patience,
        description="Time that a priority waits before its jobs overtake fresh jobs of a higher priority, in seconds.",
    )
    ttl_seconds: Ttl = Field(default_factory=Ttl, description="Longest wait of a job before expiry, in seconds.")
    retry: Retry = Field(default_factory=Retry, description="Retries of failed attempts.")
    lease_seconds: int = Field(
        default=10,
        ge=2,
        le=3600,
        description="Time after the last heartbeat of a worker until its jobs are recovered, in seconds.",
    )
    timeout_seconds: int = Field(
        default=900,
        ge=1,
        le=7 * DAY_SECONDS,
        description="Longest run of an attempt, in seconds; the timeout of the job overrides this value.",
    )
    unknown_kind_seconds: int = Field(
        default=600,
        ge=0,
        le=DAY_SECONDS,
        description="Time that a job waits for a worker with a handler of its kind, in seconds; then a dead letter.",
    )
    waits: Waits = Field(default_factory=Waits, description="Waits of handlers for signals and times.")
    retention_seconds: Retention = Field(default_factory=Retention, description="Retention of ended jobs, in seconds.")
