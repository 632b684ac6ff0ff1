"""The local copy of a collection."""

from __future__ import annotations

import asyncio

from agentpool_devcluster.kube.errors import ExpiredError, UnreachableError
from agentpool_devcluster.kube.informer import Informer
from agentpool_devcluster.kube.objects import ObjectKey, name_of
from agentpool_devcluster.kube.resources import PODS
from agentpool_devcluster.kube.tasks import cancel_and_wait


def pod(name, version, uid=None):
    return {"metadata": {"name": name, "namespace": "ns", "resourceVersion": str(version), "uid": uid or name}}


class ScriptedServer:
    """Answers lists and watches from a script, then stays silent; records the start of each watch."""

    def __init__(self, lists, watches):
        self.lists, self.watches, self.since, self.silent = lists, watches, [], asyncio.Event()

    async def list(self, resource, namespace, *, labels, fields):
        version, pods = self.lists.pop(0)
        return {"metadata": {"resourceVersion": str(version)}, "items": pods}

    async def watch(self, resource, namespace, *, since, timeout_seconds, labels, fields):
        self.since.append(since)
        if not self.watches:
            self.silent.set()
            await asyncio.Event().wait()
        for event in self.watches.pop(0):
            if isinstance(event, Exception):
                raise event
            kind, obj = event
            yield {"type": kind, "object": obj}


async def changes_of(server):
    informer, changes = Informer(server, PODS), []

    def note(change):
        kind = "added" if change.old is None else "deleted" if change.new is None else "modified"
        changes.append((kind, name_of(change.current)))

    informer.subscribe(note)
    task = asyncio.create_task(informer.run())
    async with asyncio.timeout(5):
        await server.silent.wait()
    await cancel_and_wait(task)
    return informer, changes


async def test_a_broken_watch_resumes():
    """The informer lists nothing again and reports nothing twice."""
    lost = UnreachableError("http://x", ConnectionResetError())
    first = [("ADDED", pod("b", 6)), ("BOOKMARK", pod("", 9)), lost]
    server = ScriptedServer([(5, [pod("a", 1)])], [first, [("DELETED", pod("a", 10))]])
    informer, changes = await changes_of(server)
    assert changes == [("added", "a"), ("added", "b"), ("deleted", "a")]
    assert server.since == ["5", "9", "10"]
    assert informer.get(ObjectKey("ns", "b")) is not None


async def test_an_expired_watch_lists_again_and_reports_the_difference():
    """A lost object is reported as deleted, a namesake as deleted and added, an unchanged object not at all."""
    expired = ExpiredError(code=410, reason="Expired", message="too old")
    before = [pod("same", 1), pod("went", 2), pod("again", 3, uid="first")]
    after = [pod("same", 1), pod("again", 8, uid="second"), pod("came", 9)]
    _, changes = await changes_of(ScriptedServer([(5, before), (10, after)], [[expired]]))
    assert changes[3:] == [("deleted", "went"), ("deleted", "again"), ("added", "again"), ("added", "came")]
