"""Bring a pool's children to the desired state, by server-side apply, and only if they differ.

The Deployment is created with 0 replicas; the field is handed to the scaling loop's field manager at once, because
server-side apply resets a field to its default when its only owner leaves it out
(https://kubernetes.io/docs/reference/using-api/server-side-apply/#transferring-ownership). Each step is derived from
the live object, so the next pass completes an interrupted pass.

Watches of several kinds keep no common order: after the deletion of an AgentPool, the end of its Deployment may be seen
first. So a Deployment is created only for an AgentPool that the API server still has.
"""

from __future__ import annotations

import logging
import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agentpool_core.kube import paths
from agentpool_core.kube.errors import (
    ClashError,
    ForbiddenError,
    InvalidObjectError,
    NotThereError,
    WebhookError,
)
from agentpool_core.redis_address import NOT_LABELLED, SecretError
from agentpool_operator.children import manifests
from agentpool_operator.children.checksums import Checksums
from agentpool_operator.children.contests import Contests
from agentpool_operator.children.drift import differences
from agentpool_operator.children.refused_writes import RefusedWrites
from agentpool_operator.pools.field_managers import CHILDREN_MANAGER, SCALING_MANAGER, Standing, standing_of
from agentpool_operator.pools.problems import Problem
from agentpool_operator.pools.views import deployment_view, version_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from agentpool_core.spec import AgentPoolSpec
    from agentpool_operator.cluster import Cluster
    from agentpool_operator.pools.pool import Pool
    from agentpool_operator.pools.registry import Pools
    from agentpool_operator.pools.views import DeploymentView
    from agentpool_operator.queue.secrets import Secrets

    Misfit = Callable[[Pool, dict[str, Any]], Awaitable[str]]  # why no node could hold a worker; empty = a node could

Json = dict[str, Any]
BUDGET_RECHECK_SECONDS = 60.0  # between checks of the PodDisruptionBudget, which is not watched
FORBIDDEN = " is forbidden: "  # part of every admission refusal, at any status
log = logging.getLogger(__name__)


class _DeletedError(Exception):
    """The AgentPool is deleted, or its deletion has begun."""


class Applier:
    """Keeps the children of pools in order."""

    def __init__(
        self,
        cluster: Cluster,
        pools: Pools,
        secrets: Secrets,
        *,
        default_image: str,
        image_pull_secrets: Sequence[str] = (),
        operator: str = "",
        misfit: Misfit | None = None,
    ) -> None:
        self._cluster = cluster
        self._secrets = secrets
        self._pools = pools
        self._default_image = default_image
        self._image_pull_secrets = image_pull_secrets
        self._operator = operator  # name in the mark on Deployments; empty = no mark
        self._misfit = misfit
        self._contests = Contests()
        self._refused = RefusedWrites()
        self._checksums = Checksums()
        self._accepted: dict[str, Json] = {}  # Deployment uid -> fingerprint of its last correct state
        self._budgets_checked: dict[str, float] = {}  # AgentPool uid -> seconds, monotonic: last correct state

    async def apply(self, pool: Pool, spec: AgentPoolSpec) -> Problem | None:
        """Run a pass over a pool's children; return a problem that the user has to solve."""
        if (problem := await self._secret(pool, spec)) is not None:
            return problem
        wanted = self._wanted(pool, spec)
        digest = wanted["metadata"]["annotations"][manifests.DIGEST]
        if (refused := self._refused.problem_of(pool.uid, digest)) is not None:
            return refused
        try:
            problem = await self._deployment(pool, wanted)
        except _DeletedError:
            return None
        except WebhookError as error:
            return _webhook_problem("Deployment", error.message)
        except (InvalidObjectError, ForbiddenError) as error:
            refused = _refusal_problem(error.message)
            refused = _beside_running_workers(refused) if pool.owns_deployment else refused
            self._refused.note(pool.uid, digest, refused)
            return refused
        self._refused.forget(pool.uid)
        return problem or await self._budget_problem(pool)

    def _wanted(self, pool: Pool, spec: AgentPoolSpec) -> Json:
        """Return the desired Deployment. An unreadable Secret changes no worker: the last checksum stays."""
        live = pool.deployment.raw["spec"].get("template") if pool.deployment is not None else None
        wanted = manifests.deployment(
            pool.ref,
            pool.uid,
            spec,
            default_image=self._default_image,
            image_pull_secrets=self._image_pull_secrets,
            redis_checksum=self._checksums.known(pool.uid) or manifests.redis_checksum_of(live or {}),
        )
        if self._operator:
            wanted["metadata"]["annotations"][manifests.OPERATOR] = self._operator
        return wanted

    def forget(self, pool: Pool) -> None:
        """Forget a deleted pool."""
        self._budgets_checked.pop(pool.uid, None)
        self._refused.forget(pool.uid)
        self._checksums.forget(pool.uid)
        if pool.deployment is not None:
            self._accepted.pop(pool.deployment.uid, None)
            self._contests.forget(pool.deployment.uid)

    async def _secret(self, pool: Pool, spec: AgentPoolSpec) -> Problem | None:
        """Return the problem of a Secret that forbids new workers.

        A Deployment would pass the Secret to the pods. An existing Deployment keeps the workers while a permitted
        Secret is missing or wrong for a while.
        """
        try:
            self._checksums.note(pool.uid, await self._secrets.address(pool.ref, spec))
        except SecretError as error:
            if error.reason == NOT_LABELLED or pool.deployment is None:
                return Problem(reason=error.reason, message=str(error))
        return None

    async def _deployment(self, pool: Pool, wanted: Json) -> Problem | None:
        """Apply the Deployment; return the problem of a foreign Deployment of that name."""
        path = paths.deployments(pool.ref.namespace, pool.ref.name)
        if not pool.owns_deployment:  # missing, foreign, or removed unnoticed: a foreign Deployment is in no watch
            self._pools.set_deployment(pool, await self._read_deployment(path))
        if pool.deployment is None:
            await self._check_not_deleted(pool)
            made = await self._cluster.apply(path, _with_replicas(wanted, 0), manager=CHILDREN_MANAGER)
            found = deployment_view(made)
            log.info("made Deployment %s", pool.ref)
        elif (foreign := _ownership_problem(pool, "Deployment", pool.deployment.raw)) is not None:
            return foreign
        else:
            found = pool.deployment
        if CHILDREN_MANAGER in found.appliers_of_replicas:
            found = deployment_view(await self._hand_over_replicas(path, wanted, found.replicas))
        elif self._has_drifted(wanted, found.raw):
            obstacle = self._contest(pool, wanted, found) or await self._why_unplaceable(pool, wanted, found.raw)
            if obstacle is not None:
                return obstacle
            changed = _only_if_still(wanted, found.resource_version)
            try:
                found = deployment_view(await self._cluster.apply(path, changed, manager=CHILDREN_MANAGER))
            except ClashError:  # changed meanwhile; without our label no watch shows the change
                self._pools.set_deployment(pool, await self._read_deployment(path))
                raise
            log.info("corrected Deployment %s", pool.ref)
        self._accept(wanted, found.raw)
        self._pools.set_deployment(pool, found)
        pool.yielded_to = ""
        return None

    def _contest(self, pool: Pool, wanted: Json, found: DeploymentView) -> Problem | None:
        """Return the problem of a Deployment with repeatedly reverted corrections; None = correct the Deployment."""
        marks = found.raw["metadata"].get("annotations") or {}
        other = str(marks.get(manifests.OPERATOR, ""))
        foreign = bool(self._operator) and other != self._operator
        if not foreign and marks.get(manifests.DIGEST) != wanted["metadata"]["annotations"][manifests.DIGEST]:
            return None  # our own spec has changed
        if foreign and other and self._contests.yields(found.uid, own=self._operator, other=other):
            pool.yielded_to = other
            return _served_by_other_problem(other)
        if self._contests.may_correct(found.uid):
            self._contests.note_correction(found.uid)
            return None
        name = f"the AgentPool operator {other}" if foreign and other else found.last_foreign_manager
        return _contest_problem(name or "another client", _differences(wanted, found.raw))

    async def _why_unplaceable(self, pool: Pool, wanted: Json, live: Json) -> Problem | None:
        """Return the problem of a changed template that no node could hold, while workers of the old template run."""
        digests = {(body["metadata"].get("annotations") or {}).get(manifests.DIGEST) for body in (wanted, live)}
        misfit = await self._misfit(pool, wanted) if self._misfit is not None and len(digests) > 1 else ""
        if not misfit:
            return None
        message = f"the changed template is not rolled out: {misfit}; correct the change, or add a node that fits"
        return _beside_running_workers(Problem(reason="TemplateUnplaceable", message=message))

    async def _check_not_deleted(self, pool: Pool) -> None:
        """Ask the API server for the AgentPool. Raises _DeletedError; the registry then knows of the deletion."""
        try:
            live = await self._cluster.get(paths.agentpools(pool.ref.namespace, pool.ref.name))
        except NotThereError:
            live = None
        if live is None or live["metadata"]["uid"] != pool.uid:
            self._pools.see_pool(pool.resource, gone=True)
            raise _DeletedError
        if live["metadata"].get("deletionTimestamp"):
            self._pools.see_pool(live)
            raise _DeletedError

    async def _read_deployment(self, path: str) -> DeploymentView | None:
        """Return the Deployment from the server: a Deployment without our label is in no watch."""
        try:
            return deployment_view(await self._cluster.get(path))
        except NotThereError:
            return None

    async def _hand_over_replicas(self, path: str, wanted: Json, replicas: int) -> Json:
        """Give `replicas` to the scaling loop's manager, then apply without the field."""
        only = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": wanted["metadata"]["name"], "namespace": wanted["metadata"]["namespace"]},
            "spec": {"replicas": replicas},
        }
        await self._cluster.apply(path, only, manager=SCALING_MANAGER)
        return await self._cluster.apply(path, wanted, manager=CHILDREN_MANAGER)

    def _has_drifted(self, wanted: Json, live: Json) -> bool:
        metadata = live["metadata"]
        found = metadata.get("annotations") or {}
        if any(found.get(mark) != value for mark, value in wanted["metadata"]["annotations"].items()):
            return True
        if self._accepted.get(metadata["uid"]) == _fingerprint(wanted, live):
            return False  # the server normalises the value: a second apply would change nothing
        paths_that_differ = _differences(wanted, live)
        if paths_that_differ:
            log.info("Deployment %s differs at %s", metadata["name"], ", ".join(paths_that_differ[:5]))
        return bool(paths_that_differ)

    def _accept(self, wanted: Json, live: Json) -> None:
        self._accepted[live["metadata"]["uid"]] = _fingerprint(wanted, live)

    async def _budget_problem(self, pool: Pool) -> Problem | None:
        """Return the problem of the PodDisruptionBudget; the workers run and are scaled without the budget."""
        try:
            return await self._budget(pool)
        except WebhookError as error:
            return _webhook_problem("PodDisruptionBudget", error.message)
        except (InvalidObjectError, ForbiddenError) as error:
            return Problem(
                reason="PodDisruptionBudgetRefused",
                message=(
                    f"the API server refuses the workers' PodDisruptionBudget: {_one_line(error.message)}; the workers "
                    "run without one; change the quota, the policy or the operator's rights that refuse it"
                ),
                stops_scaling=False,
            )

    async def _budget(self, pool: Pool) -> Problem | None:
        """Apply the PodDisruptionBudget; return the problem of a foreign budget of that name."""
        if time.monotonic() - self._budgets_checked.get(pool.uid, float("-inf")) < BUDGET_RECHECK_SECONDS:
            return None
        path = paths.disruption_budgets(pool.ref.namespace, pool.ref.name)
        wanted = manifests.disruption_budget(pool.ref, pool.uid)
        try:
            live = await self._read_budget(path)
            foreign = None if live is None else _ownership_problem(pool, "PodDisruptionBudget", live)
            if foreign is not None:
                return replace(foreign, stops_scaling=False)
            if live is None:
                await self._cluster.apply(path, wanted, manager=CHILDREN_MANAGER)
            elif _differences(wanted, live):
                changed = _only_if_still(wanted, version_of(live))
                await self._cluster.apply(path, changed, manager=CHILDREN_MANAGER)
        except NotThereError:
            log.debug("this cluster serves no PodDisruptionBudgets")
        self._budgets_checked[pool.uid] = time.monotonic()
        return None

    async def _read_budget(self, path: str) -> Json | None:
        try:
            return await self._cluster.get(path)
        except NotThereError:
            return None


def _differences(wanted: Json, live: Json) -> list[str]:
    """Return the differences of the live object, which may come from a list without kinds."""
    return differences({part: wanted[part] for part in ("metadata", "spec")}, live)


def _with_replicas(deployment: Json, replicas: int) -> Json:
    return {**deployment, "spec": {**deployment["spec"], "replicas": replicas}}


def _only_if_still(wanted: Json, version: str) -> Json:
    """Return the object for a write that is refused (409) after a change, such as a frozen operator's late write."""
    return {**wanted, "metadata": {**wanted["metadata"], "resourceVersion": version}}


def _fingerprint(wanted: Json, live: Json) -> Json:
    """Return the fingerprint of a correct Deployment; labels and owners do not change the generation."""
    metadata = live["metadata"]
    return {
        "digest": wanted["metadata"]["annotations"][manifests.DIGEST],
        **{name: metadata.get(name) for name in ("generation", "labels", "ownerReferences")},
    }


def _contest_problem(other: str, differing: Sequence[str]) -> Problem:
    """Return the problem of a lasting contest, in words that do not change with every correction."""
    return Problem(
        reason="Contested",
        message=(
            f"{other} changes the workers' Deployment back after each correction: {', '.join(differing[:3])}; it is "
            "corrected less and less often; end the other change, or put it into spec.worker.template"
        ),
        stops_scaling=False,
        refuses_spec=True,
    )


def _served_by_other_problem(other: str) -> Problem:
    return Problem(
        reason="OperatorConflict",
        message=(
            f"the AgentPool operator {other} serves this pool, so this operator leaves the pool alone; uninstall "
            "one of the two releases, or give them disjoint namespaces (watchNamespaces)"
        ),
    )


def _webhook_problem(child: str, detail: str) -> Problem:
    """Return the problem of a failed webhook. Existing workers are still scaled: webhooks restart now and then."""
    return Problem(
        reason="WebhookFailed",
        message=(
            f"the API server cannot ask an admission webhook about the workers' {child}: {detail}; repair the "
            "webhook, or its failurePolicy"
        ),
        stops_scaling=False,
    )


def _refusal_problem(detail: str) -> Problem:
    """Return the API server's objection to a Deployment, with the AgentPool's names of the fields."""
    words = re.sub(r"(?<![\w.])\.?spec\.template\b", "spec.worker.template", _one_line(detail))
    if FORBIDDEN in words:
        return Problem(
            reason="DeploymentForbidden",
            message=(
                f"the API server forbids an object that the workers need: {words}; change the quota, the policy or the "
                "operator's rights that forbid the object, or the AgentPool"
            ),
        )
    return Problem(
        reason="TemplateRefused",
        message=f"the API server refuses the workers' Deployment: {words}; correct spec.worker.template",
    )


def _beside_running_workers(problem: Problem) -> Problem:
    """Return the problem of a change to an existing Deployment: the workers go on, and are scaled."""
    message = f"{problem.message}; until then the workers keep the earlier template, and are scaled"
    return replace(problem, message=message, stops_scaling=False, refuses_spec=True)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _ownership_problem(pool: Pool, kind: str, child: Json) -> Problem | None:
    """Return the problem of a foreign child, which is left alone."""
    ref = pool.ref
    standing = standing_of(child, name=ref.name, uid=pool.uid, labels=manifests.marks_of(ref))
    if standing in {Standing.OURS, Standing.LEFT_BEHIND}:
        return None
    if standing is Standing.LEAVING:
        return Problem(
            reason=f"{kind}Leaving",
            message=f"the {kind} of a deleted AgentPool of this name still exists; a new object follows it",
        )
    return Problem(
        reason=f"{kind}NotOwned",
        message=(
            f"a {kind} named {ref.name!r} exists and is not controlled by this AgentPool, so it is left alone; delete "
            "or rename the object, or rename the AgentPool"
        ),
    )
