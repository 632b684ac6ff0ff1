"""Leader election among operators, by a Lease.

The holder renews every `retry_s`; a candidate takes over once the Lease has not changed for its duration by the
candidate's own monotonic clock, so clocks need not agree. A holder that could not renew before `renew_deadline_s`,
which is shorter than the Lease, stops writing by itself, even after being suspended (`Leadership`). Every operator
watches; only the leader writes (`cluster.Cluster.may_write`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from agentpool_core.errors import ClusterError
from agentpool_core.kube import paths
from agentpool_core.kube.errors import ClashError, ClusterRefusalError, NotThereError

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentpool_operator.cluster import Cluster
    from agentpool_operator.settings import ElectionSettings

Json = dict[str, Any]
WATCHING_SECONDS = 1.0  # between a candidate's reads, which are cheap
log = logging.getLogger(__name__)


class Leadership:
    """The answer to "may this operator write now?": `Election` sets it, every writer asks it.

    A comparison of clocks, not a flag: a process that was suspended past its time does not lead when it continues.
    """

    def __init__(self, *, elected: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        self._elected = elected  # False: this operator always leads
        self.clock = clock
        self.until = float("-inf")  # seconds of the clock; written by `Election`

    def __call__(self) -> bool:
        """Return whether this operator may write now."""
        return not self._elected or self.clock() < self.until


class Election:
    """A candidate."""

    def __init__(
        self,
        cluster: Cluster,
        settings: ElectionSettings,
        leadership: Leadership,
        *,
        on_lead: Callable[[], None] = lambda: None,
    ) -> None:
        self._cluster = cluster
        self._settings = settings
        self._leadership = leadership
        self._clock = leadership.clock
        self._on_lead = on_lead
        self._terms = 0  # number of terms, including terms restarted after a late renewal
        self._seen: tuple[str, str] = ("", "")  # holder and renewTime last seen
        self._seen_at = self._clock()  # seconds of the clock: when that pair was first seen

    @property
    def leading(self) -> bool:
        """Whether this operator may write now."""
        return self._leadership()

    async def run(self) -> None:
        """Campaign and renew, for ever."""
        if not self._settings.enabled:
            self._on_lead()
            return
        led, reported_term = False, self._terms
        while True:
            if led and not self.leading:  # the time ran out, or this process was frozen
                led = False
                log.warning("no longer leading")
            try:
                await self.campaign()
            except ClusterError as error:
                log.warning("the Lease could not be renewed or read: %s", error)
            if self.leading and self._terms != reported_term:
                reported_term = self._terms
                log.info("leading as %s", self._settings.identity)
                self._on_lead()
            elif led and not self.leading:
                log.warning("no longer leading")
            led = self.leading
            await asyncio.sleep(self._settings.retry_s if self.leading else WATCHING_SECONDS)

    async def campaign(self) -> None:
        """Try once to renew the Lease, or to take a free Lease."""
        began = self._clock()
        path = paths.leases(self._settings.namespace, self._settings.name)
        try:
            lease = await self._cluster.get(path)
        except NotThereError:
            await self._cluster.create(paths.leases(self._settings.namespace), self._new(), gated=False)
            self._lead_until(began + self._settings.renew_deadline_s)
            return
        spec = lease.get("spec") or {}
        if spec.get("holderIdentity") != self._settings.identity and not self._expired(spec):
            self._leadership.until = float("-inf")
            return
        try:
            await self._cluster.replace(path, self._renewal_of(lease), gated=False)
        except ClashError:
            log.info("a different operator took the Lease first")
            return
        self._lead_until(began + self._settings.renew_deadline_s)

    def _lead_until(self, moment: float) -> None:
        """Lead until then, or start to lead: `on_lead` then marks work that was left undone."""
        self._terms += not self.leading
        self._leadership.until = moment

    async def resign(self) -> None:
        """Release the Lease for a faster takeover. Tried once: a Lease that is kept expires by itself.

        At `helm uninstall` the rights are gone before the process gets its signal, so a refusal is usual.
        """
        if not self._settings.enabled or not self._terms:
            return
        self._leadership.until = float("-inf")
        path = paths.leases(self._settings.namespace, self._settings.name)
        try:
            lease = await self._cluster.get(path)
            if (lease.get("spec") or {}).get("holderIdentity") == self._settings.identity:
                lease["spec"]["holderIdentity"] = ""
                await self._cluster.replace(path, lease, gated=False)
        except NotThereError:
            return
        except ClusterRefusalError as error:
            log.info(
                "the Lease expires within %g s: the API server refused to release it (%d), as during an uninstall",
                self._settings.lease_s,
                error.status,
            )
        except ClusterError as error:
            log.info("the Lease was not released: %s", error)

    def _expired(self, spec: Json) -> bool:
        """Return whether the holder has been silent for the Lease's duration, by this operator's own clock."""
        holder, renewed = str(spec.get("holderIdentity") or ""), str(spec.get("renewTime") or "")
        if (holder, renewed) != self._seen:
            self._seen, self._seen_at = (holder, renewed), self._clock()
        duration = float(spec.get("leaseDurationSeconds") or self._settings.lease_s)
        return not holder or self._clock() - self._seen_at > duration

    def _new(self) -> Json:
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._settings.name, "namespace": self._settings.namespace, **self._owners()},
            "spec": {**self._hold(), "acquireTime": _micro_time(), "leaseTransitions": 0},
        }

    def _renewal_of(self, lease: Json) -> Json:
        before = lease.get("spec") or {}
        spec = {**before, **self._hold()}
        if before.get("holderIdentity") != self._settings.identity:
            spec["acquireTime"] = spec["renewTime"]
            spec["leaseTransitions"] = int(before.get("leaseTransitions") or 0) + 1
        return {**lease, "metadata": {**lease["metadata"], **self._owners()}, "spec": spec}

    def _owners(self) -> Json:
        """Return the holder's pod as the owner, with which the Lease goes after an uninstall; empty outside a pod."""
        if self._settings.pod is None:
            return {}
        name, uid = self._settings.pod
        return {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}]}

    def _hold(self) -> Json:
        return {
            "holderIdentity": self._settings.identity,
            "leaseDurationSeconds": max(1, round(self._settings.lease_s)),
            "renewTime": _micro_time(),
        }


def _micro_time() -> str:
    return datetime.now(tz=UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
