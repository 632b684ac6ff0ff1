"""The workers of a pool: handler, slots, pod."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, StringConstraints

from agentpool_core.queue.settings import AdaptiveMode
from agentpool_core.spec.base import DAY_SECONDS, MAX_CONCURRENCY, MAX_INT32, Rule, SpecModel
from agentpool_core.spec.template import pod_template

VARIABLES_PATTERN = r"^([A-Za-z_][A-Za-z0-9_]*\*?|\*)$"  # a variable's name, or a prefix with an asterisk
APP_PATTERN = "[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_.]*"  # module:attribute, for CEL and Python alike


def _app(text: str) -> str:
    """Check the rule below again: a resource may be older than the rule."""
    if not re.fullmatch(APP_PATTERN, text):
        raise ValueError("must be module:attribute, such as my_agents:app")
    return text


class PythonHandler(SpecModel):
    """Handler that calls Python functions of an `App`."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(  # a pattern's error would show the pattern only
            holds=f"self.app.matches('^{APP_PATTERN}$')",
            message="app must be module:attribute; name the module and the App in it, such as my_agents:app",
            explain=(
                "'app (' + self.app + ') must be module:attribute; "
                "name the module and the App in it, such as my_agents:app'"
            ),
            field=".app",
        ),
    )

    app: Annotated[str, StringConstraints(max_length=253), AfterValidator(_app)] = Field(
        description="The App as `module:attribute`, importable in the worker's image."
    )


class HttpHandler(SpecModel):
    """Handler that sends POST requests to a container of the same pod."""

    port: int = Field(ge=1, le=65535, description="Port on which the container listens.")
    path: Annotated[str, StringConstraints(pattern=r"^/", max_length=1024)] = Field(
        default="/", description="Path of the POST request."
    )


class CommandHandler(SpecModel):
    """Handler that runs a process for each job: JSON on standard input, JSON on standard output."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            holds="!has(self.passEnv) || !self.passEnv.exists(name, name.startsWith('AGENTPOOL_'))",
            message="passEnv names a variable of the worker's own (AGENTPOOL_…), which no job sees; remove it",
            field=".passEnv",
        ),
    )

    argv: list[Annotated[str, StringConstraints(max_length=4096)]] = Field(
        min_length=1,
        max_length=64,
        description="The program and each argument, without a shell.",
    )
    pass_env: list[Annotated[str, StringConstraints(pattern=VARIABLES_PATTERN, max_length=253)]] | None = Field(
        default=None,
        max_length=64,
        description=(
            "Environment variables of the worker's container to pass to the program, such as `OPENAI_API_KEY`; `*` at "
            "the end stands for any suffix. PATH, HOME, the locale, TZ, TMPDIR and similar variables are always "
            "passed; the worker's own (`AGENTPOOL_…`, the URL of Redis) are never passed."
        ),
    )


class Handler(SpecModel):
    """Handler of the jobs. Exactly one of `python`, `http` and `command`."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            holds="[has(self.python), has(self.http), has(self.command)].filter(x, x).size() == 1",
            message="handler must hold exactly one of python, http, command; remove the others or add one",
            explain=(
                "'handler must hold exactly one of python, http, command, and holds%s%s%s%s; "
                "remove the others or add one'.format([has(self.python) ? ' python' : '', "
                "has(self.http) ? ' http' : '', has(self.command) ? ' command' : '', "
                "has(self.python) || has(self.http) || has(self.command) ? '' : ' none'])"
            ),
        ),
    )

    python: PythonHandler | None = Field(default=None, description="Calls Python functions registered by an App.")
    http: HttpHandler | None = Field(
        default=None, description="Forwards each job over HTTP to a container in the same pod, in any language."
    )
    command: CommandHandler | None = Field(
        default=None, description="Runs a process for each job: JSON on stdin, JSON on stdout."
    )


class Adaptive(SpecModel):
    """Changes of the number of slots of a running worker."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            holds="!has(self.max) || self.min <= self.max",
            message="min must not exceed max; lower adaptive.min or raise adaptive.max",
            explain=(
                "'min (%d) must not exceed max (%d); lower adaptive.min or raise adaptive.max'"
                ".format([self.min, self.max])"
            ),
            field=".min",
        ),
    )

    mode: AdaptiveMode = Field(
        default=AdaptiveMode.OFF,
        description=(
            "Off keeps `concurrency`; GPU follows the measured goodput within the GPU's memory; Goodput follows the "
            "measured goodput without a GPU; Overload follows the handler's overload signals only, which GPU and "
            "Goodput follow too."
        ),
    )
    min: int = Field(default=1, ge=1, le=MAX_CONCURRENCY, description="Lowest number of slots of a worker.")
    max: int | None = Field(
        default=None,
        ge=1,
        le=MAX_CONCURRENCY,
        description="Highest number of slots of a worker. Unset: the HighThroughput preset of the workload.",
    )


class Worker(SpecModel):
    """A worker: slots, drain, and pod."""

    concurrency: int | None = Field(
        default=None,
        ge=1,
        le=MAX_CONCURRENCY,
        description="Jobs that a worker runs at once. Unset: the preset of `workload` and `profile`.",
    )
    adaptive: Adaptive = Field(
        default_factory=Adaptive, description="Changes of the number of slots of a running worker."
    )
    gpu_memory_mib: int | None = Field(
        default=None,
        ge=1,
        le=MAX_INT32,
        description=(
            "GPU memory of a worker for jobs, in MiB: that of its device, less the need of the driver and of the "
            "handler itself. Divides the device between jobs of routes with `resources.gpuMemoryMib`."
        ),
    )
    drain_seconds: int = Field(
        default=300,
        ge=0,
        le=DAY_SECONDS,
        description=(
            "Time for running jobs of a stopping worker to finish before they are requeued, in seconds. "
            "The pod's termination grace period is 15 seconds longer."
        ),
    )
    template: Annotated[dict[str, Any], AfterValidator(pod_template)] = Field(
        default_factory=dict,
        description=(
            "Base of the worker's pod, as a pod template (`metadata`, `spec`): image and resources of the "
            "container named `worker`, nodeSelector, tolerations, volumes, extra containers."
        ),
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )
