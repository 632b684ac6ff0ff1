"""A worker's side of a pool's queue: register, claim, settle, renew, wait, and maintenance.

Mechanism: a script and a round trip per call, many jobs per call. The consumer remembers its jobs; after a lost answer,
the next claim first returns the jobs that the queue holds for it and that it does not know, so a broken connection
never strands a job. The worker runs the leases.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoScriptError

from agentpool_core.errors import QueueError, QueueReplyError, QueueUnreachableError, SettingError, UnknownPoolError
from agentpool_core.jobs import JobId, LeaseToken
from agentpool_core.queue import scripts
from agentpool_core.queue.audit import disagreements
from agentpool_core.queue.codec.leases import MAX_ERROR_CHARS, SettleCall, leases_of, settle_calls
from agentpool_core.queue.completions import (
    Hold,
    Maintenance,
    Place,
    Reconciliation,
    Renewal,
    Room,
    SettleOutcome,
    Succeeded,
    Wake,
)
from agentpool_core.queue.connection.client import call, connections_made, is_cluster, pipeline
from agentpool_core.queue.connection.error_translation import Asking, Reading, fault_of
from agentpool_core.queue.formats import FORMAT, check_format
from agentpool_core.queue.holdings import Holdings
from agentpool_core.queue.keys import RESERVED, Keys
from agentpool_core.queue.orders import Orders
from agentpool_core.queue.published import published_settings
from agentpool_core.queue.reports import JobReports
from agentpool_core.queue.schedules import Schedules
from agentpool_core.queue.settings import PoolSettings
from agentpool_core.queue.trials import Trials

if TYPE_CHECKING:
    from agentpool_core.jobs import Lease, PoolRef, WorkerId
    from agentpool_core.queue.completions import Completion, Control
    from agentpool_core.queue.connection.client import RedisClient

MAX_CLAIM = 1_000  # jobs in a claim: bounds the time of the script
MAX_NOTE_CHARS = 300  # of the reason why a worker takes no jobs
ROUNDS_MAX = 1_000  # of giving up a worker's jobs; bounds a faulty server's answers
_SEEDS = 2**31 - 1
log = logging.getLogger(__name__)

_OUTCOMES = {outcome.value: outcome for outcome in SettleOutcome}


class Consumer(JobReports):
    """A worker's access to a pool's queue. For a single event loop; safe to share between its tasks."""

    def __init__(
        self,
        redis: RedisClient,
        pool: PoolRef,
        worker: WorkerId,
        *,
        kinds: Sequence[str] | None = None,
        version: str = "",
    ) -> None:
        """`kinds`: the kinds of job announced by the worker; None: every kind. `version`: of AgentPool, likewise."""
        if not worker or worker.startswith(RESERVED) or any(mark.isspace() for mark in worker):
            raise SettingError(
                field="worker",
                value=worker,
                problem=f"empty, with white space, or beginning with {RESERVED!r}",
                remedy="use the pod's name, or another name that no other worker of the pool has",
            )
        self.pool = pool
        self.worker = worker
        self._version = version
        self._kinds = "*" if kinds is None else " ".join(kinds)
        self._redis = redis
        self._keys = Keys(pool)
        self._conf = self._keys.conf
        self._held = Holdings()
        self._answer_lost = False
        self._comparing = False  # the queue may hold different jobs for this worker
        self._broken_off = False  # a wait was cancelled; the server may have noticed late
        self._lag_reported_at: int | None = None  # connections made until then
        self._in_flight = 0  # calls that may return leased jobs
        self._reconciling = asyncio.Lock()
        self._orders = Orders(redis, self._keys, worker)
        self._short = Trials()  # of the short exchange
        self._last_place = ""  # where the last job came from: the next is most likely there too
        self._cordoned = False  # must not claim; the bell is for other workers
        self.reconciled: Callable[[Reconciliation], None] = lambda _: None  # called with differences that were resolved

    async def register(self, *, slots: int, host: str) -> PoolSettings:
        """Announce the worker and take out its lease; return the pool's settings.

        Jobs of an earlier lease are forgotten here, and requeued by the next claim. Raises UnknownPoolError for a pool
        without settings, NewerFormatError.
        """
        where = f"{host or '-'} {self._version}".rstrip()
        args = (self.worker, slots, where, self._kinds, FORMAT)
        reply = await scripts.REGISTER.run(self._redis, self._conf, args)
        if reply == ["unknown_pool"]:
            raise UnknownPoolError(str(self.pool))
        with Reading("register"):
            conf = dict(zip(reply[1::2], reply[2::2], strict=True))
            check_format(self.pool, conf)
            self.forget()
            return PoolSettings.from_mapping(conf)

    def forget(self) -> None:
        """Forget the jobs of a lost lease: the next claim requeues those that the queue still holds for us."""
        self._held.clear()
        self._comparing = True

    def compare_holdings(self) -> None:
        """Make the next claim compare the jobs held here with the queue's records for this worker."""
        self._comparing = True

    def holdings(self) -> Mapping[JobId, Hold]:
        """Return the jobs of this consumer that have not ended. May be called from a different thread."""
        return self._held.copy()

    async def settings(self) -> PoolSettings:
        """Return the pool's present settings. Raises UnknownPoolError for a pool without settings, NewerFormatError."""
        return await published_settings(self._redis, self.pool)

    async def claim(self, limit: int | Room) -> list[Lease]:
        """Claim up to `limit` jobs, or those that fit into a room, the most urgent first, in a single round trip.

        [] when nothing is ready, the pool is paused, every route with ready jobs is at its limit, the worker is
        cordoned (`Inspector.cordon`), or not registered (`renew` reports that). With limit 0 nothing is claimed; the
        bell rings again if something is ready.
        """
        reply = await self._claiming(scripts.CLAIM, (self.worker, _room(limit)))
        return self._leases(reply)

    async def settle(self, completions: Sequence[Completion]) -> list[SettleOutcome]:
        """End attempts in calls of bounded size; return an outcome for each, in order.

        May be repeated after a lost answer, with the same outcomes. Raises PayloadTooLargeError or InvalidJobError for
        a result that cannot be stored, before anything is sent.
        """
        return await self._settle(settle_calls(completions))

    async def _settle(self, calls: Iterable[SettleCall]) -> list[SettleOutcome]:
        outcomes: list[SettleOutcome] = []
        for ended in calls:
            reply = await scripts.SETTLE.run(self._redis, self._conf, (_seed(), self.worker, *ended.arguments))
            with Reading("settle"):
                outcomes += self._outcomes(ended.completions, reply)
        return outcomes

    async def exchange(
        self, completions: Sequence[Completion], limit: int | Room
    ) -> tuple[list[SettleOutcome], list[Lease]]:
        """Settle and claim in a single round trip; `limit`: free slots, or the room, after the settle."""
        calls = settle_calls(completions)
        if not calls:
            return [], await self.claim(limit)
        *earlier, last = calls
        outcomes = await self._settle(earlier)
        args = (self.worker, _room(limit), _seed(), *last.arguments)
        reply = await self._exchange(last, args)
        with Reading("exchange"):
            outcomes += self._outcomes(last.completions, reply[0])
            claimed = reply[1]
        return outcomes, self._leases(claimed)

    async def _exchange(self, ended: SettleCall, args: Sequence[scripts.Arg]) -> Any:
        """Return exchange.lua's reply; let the short script decide first where it usually can."""
        if all(isinstance(completion, Succeeded) for completion in ended.completions) and self._short.is_due():
            reply = await self._claiming(scripts.EXCHANGE_PLAIN, args)
            if reply != ["other"]:
                self._short.succeeded()
                return reply
            self._short.failed()
        return await self._claiming(scripts.EXCHANGE, args)

    async def renew(self, *, slots: int, running: int, note: str = "") -> Renewal:
        """Extend the worker's lease, and so the lease of each of its jobs, with a single write."""
        args = (self.worker, slots, running, " ".join(note.split())[:MAX_NOTE_CHARS])
        reply = await scripts.RENEW.run(self._redis, self._conf, args)
        with Reading("renew"):
            status, revision, *held = reply
            places = frozenset(map(Place, held[::2], held[1::2]))
        return Renewal(settings_revision=revision, still_registered=status == "ok", held=places)

    async def wait(self, timeout_ms: int, *, for_work: bool = True) -> list[Control]:
        """Block until the bell rings or an order comes; return [] after `timeout_ms` (or the client's own limit).

        `for_work=False` waits for orders only: for a worker without free slots. Uses a separate connection while
        blocking. Avoid cancelling: a bell that was just received is lost until the next poll.
        """
        command = self._orders.command(timeout_ms, for_work=for_work, cordoned=self._cordoned)
        with Asking("wait"):
            rung = await call(self._redis, *command)
        return await self._orders.read(rung)

    async def wait_and_claim(self, timeout_ms: int, limit: int) -> tuple[list[Control], list[Lease]]:
        """Wait and claim in a single round trip, for an idle worker: its free slots cannot change meanwhile.

        The claim is sent behind the blocking read, so the server runs it when the bell rings, and a job reaches an idle
        worker without a further request; several jobs take a second round trip. After `timeout_ms` it claims anyway: a
        safety poll. If cancelled, jobs that may have been received are requeued by the next call, or by `deregister`.
        """
        if is_cluster(self._redis):  # the connection depends on the key of each command
            controls = await self.wait(timeout_ms)
            return controls, await _claim_beside_orders(controls, self.claim(limit))
        await self._requeue_unknown()
        wait = self._orders.command(timeout_ms, for_work=True, cordoned=self._cordoned)
        claim = ("EVALSHA", scripts.CLAIM_PLAIN.sha, 1, self._conf, self.worker, self._last_place)
        self._in_flight += 1
        try:
            with Asking("wait"):
                rung, reply = await pipeline(self._redis, wait, claim)
            controls = await self._orders.read(None if isinstance(rung, BaseException) else rung)
        except QueueError:
            self._answer_lost = True
            raise
        except BaseException:
            self._answer_lost = self._broken_off = True
            raise
        finally:
            self._in_flight -= 1
        if isinstance(rung, BaseException):
            self._answer_lost = True  # the claim behind it may have brought jobs
            raise fault_of(rung, doing="wait") from rung
        return controls, await _claim_beside_orders(controls, self._claim_after_wait(reply, limit))

    async def _claim_after_wait(self, reply: Any, limit: int) -> list[Lease]:
        if isinstance(reply, NoScriptError):
            reply = await self._call(scripts.CLAIM_PLAIN, (self.worker, self._last_place))
        if isinstance(reply, BaseException):
            raise fault_of(reply, doing="claim") from reply
        return await self.claim(limit) if reply == ["other"] else self._leases(reply)

    async def maintain(self, *, recover: bool = True) -> Maintenance:
        """Run a round of maintenance: lost workers, due jobs, expired TTLs. Safe for any number of concurrent workers.

        `recover=False` skips lost workers: after an outage live workers have not renewed their leases yet.
        """
        reply = await scripts.MAINTAIN.run(self._redis, self._conf, () if recover else ("waiting",))
        await self._report_lag()
        with Reading("maintain"):
            recovered, promoted, expired, next_due, schedules_due = map(int, reply[:5])
            resolved = disagreements(reply[5:])
        if schedules_due:
            promoted += await self._run_schedules()
        return Maintenance(
            recovered=recovered,
            promoted=promoted,
            expired=expired,
            next_due_ms=None if next_due < 0 else next_due,
            resolved=resolved,
        )

    async def _run_schedules(self) -> int:
        """Submit the jobs of due schedules; return their number. A failure spoils nothing else of the maintenance."""
        try:
            return await Schedules(self._redis, self.pool).run_due()
        except QueueError as error:
            log.warning("no schedules of pool %s: %s", self.pool, error)
            return 0

    async def deregister(self) -> None:
        """Give up the lease; remaining jobs become ready again, as after a loss. Safe to call twice.

        Jobs of a lost answer never started: they count no loss.
        """
        begun = ("these", *self._held.pairs()) if self._answer_lost or self._broken_off else ("all",)
        await self._give_up(*begun)
        self._held.clear()

    async def report_crash(self, how: str, culprits: Sequence[JobId] = (), *, explained: bool = True) -> int:
        """Report that a process of this worker's name ended under its jobs; return the number of recovered jobs.

        `how` is evidence in words. Each held job counts a loss, or only the culprits if known: the rest is requeued.
        After its second loss a job runs alone; after a further loss it becomes a dead letter with this evidence, unless
        the end is not `explained` and says nothing about the job, as after a node failure.
        """
        return await self._give_up("crashed" if explained else "gone", how[-MAX_ERROR_CHARS:], *culprits)

    async def _give_up(self, *how: scripts.Arg) -> int:
        """Repeat until nothing is left; return the number of recovered jobs."""
        taken = 0
        for _ in range(ROUNDS_MAX):
            reply = await scripts.DEREGISTER.run(self._redis, self._conf, (self.worker, *how))
            with Reading("deregister"):
                taken += int(reply[1])
                if reply[0] != "more":
                    return taken
        raise QueueReplyError(doing="deregister", problem="there is always more")

    async def _report_lag(self) -> None:
        """Report the lag, unless the server is known to have the last report; a restarted server has lost it."""
        made = connections_made(self._redis)
        if made is None or made != self._lag_reported_at:
            await scripts.LAG.run(self._redis, self._conf)
            self._lag_reported_at = made

    async def _claiming(self, script: scripts.Script, args: Sequence[scripts.Arg]) -> Any:
        """Make a call that may bring jobs; repeat it after a connection failure, but never blindly.

        Jobs of the lost answer are requeued first. That needs the answers of all calls in flight.
        """
        await self._requeue_unknown()
        try:
            return await self._call(script, args)
        except QueueUnreachableError as error:
            if not error.reconnect or self._in_flight:
                raise
        await self._requeue_unknown()
        return await self._call(script, args)

    async def _call(self, script: scripts.Script, args: Sequence[scripts.Arg]) -> Any:
        """Make a call that leases jobs, also if the answer is lost."""
        self._in_flight += 1
        try:
            return await script.run(self._redis, self._conf, args)
        except (QueueUnreachableError, QueueReplyError):
            self._answer_lost = True
            raise
        except QueueError:
            raise
        except BaseException:  # cancelled while waiting for the answer
            self._answer_lost = True
            raise
        finally:
            self._in_flight -= 1

    async def _requeue_unknown(self) -> None:
        """Requeue unknown jobs after a lost answer or in doubt, once no call is in flight."""
        if not self._answer_lost and not self._comparing:
            return
        async with self._reconciling:
            if not self._in_flight:
                args = (self.worker, *self._held.pairs())
                reply = await scripts.RECONCILE.run(self._redis, self._conf, args)
                self._answer_lost = self._comparing = False
                self._resolve(reply)

    def _resolve(self, reply: Sequence[Any]) -> None:
        with Reading("reconcile"):
            returned, dropped, corrected = map(int, reply[:3])
            pairs = zip(reply[3::2], reply[4::2], strict=True)
            disowned = tuple((JobId(job_id), LeaseToken(int(token))) for job_id, token in pairs)
        self._held.drop(disowned)
        found = Reconciliation(returned=returned, dropped=dropped, corrected=corrected, disowned=disowned)
        if found.differed:
            self.reconciled(found)

    def _leases(self, reply: list[Any]) -> list[Lease]:
        """Return the leases of claim.lua's reply, and remember them."""
        try:
            with Reading("claim"):
                self._cordoned = reply[0] == "cordoned"
                leases = leases_of(reply)
        except QueueReplyError:
            self._answer_lost = True  # it may have brought jobs that cannot be identified
            raise
        again = self._held.keep(leases)
        if again:  # Redis went back in time: the earlier attempts have no lease any more
            self.reconciled(Reconciliation(disowned=again))
        if leases:
            self._last_place = f":{leases[-1].route}:{leases[-1].priority.value}"
        return leases

    def _outcomes(self, completions: Sequence[Completion], reply: list[str]) -> list[SettleOutcome]:
        self._held.let_go(completions)
        return [_OUTCOMES[name] for name in reply]


async def _claim_beside_orders(controls: Sequence[Control], claim: Awaitable[list[Lease]]) -> list[Lease]:
    """Return the claimed jobs; [] if the claim fails although orders have come, which only this call can report."""
    try:
        return await claim
    except QueueError as error:
        if all(isinstance(control, Wake) for control in controls):
            raise
        log.debug("the claim beside orders failed: %s", error)
        return []


def _seed() -> int:
    return random.randint(1, _SEEDS)  # noqa: S311  # jitter, not a secret


def _room(limit: int | Room) -> str | int:
    """Return a limit as the scripts read it."""
    return str(limit) if isinstance(limit, Room) else min(limit, MAX_CLAIM)
