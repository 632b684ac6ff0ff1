"""Watch streams over HTTP."""

from __future__ import annotations

from typing import Any

from tests.fixtures.devcluster import ApiClient

MAPS = "/api/v1/namespaces/default/configmaps"


async def test_a_watch_starts_with_the_existing_objects(api: ApiClient) -> None:
    """Without a resourceVersion a watch sends existing objects, then changes."""
    await api.create(MAPS, {"metadata": {"name": "a"}})

    async def go_on(event: Any) -> None:
        if event["type"] == "ADDED" and event["object"]["metadata"]["name"] == "a":
            await api.create(MAPS, {"metadata": {"name": "b"}})
            await api.delete(f"{MAPS}/a")

    events = await api.events(MAPS, 3, seen=go_on)
    assert [(event["type"], event["object"]["metadata"]["name"]) for event in events] == [
        ("ADDED", "a"),
        ("ADDED", "b"),
        ("DELETED", "a"),
    ]


async def test_a_watch_continues_where_a_list_ended(api: ApiClient) -> None:
    """A watch from a list's resourceVersion misses nothing and repeats nothing."""
    await api.create(MAPS, {"metadata": {"name": "a"}})
    version = (await api.get(MAPS))["metadata"]["resourceVersion"]
    await api.patch(f"{MAPS}/a", {"data": {"k": "v"}})
    await api.create(MAPS, {"metadata": {"name": "b"}})
    events = await api.events(MAPS, 2, resourceVersion=version)
    assert [event["type"] for event in events] == ["MODIFIED", "ADDED"]


async def test_objects_enter_and_leave_a_selector(api: ApiClient) -> None:
    """In a watch with a selector, an object that starts to match is added, and an object that stops is deleted."""
    version = (await api.get(MAPS))["metadata"]["resourceVersion"]
    await api.create(MAPS, {"metadata": {"name": "a"}})
    await api.patch(f"{MAPS}/a", {"metadata": {"labels": {"on": "1"}}})
    await api.patch(f"{MAPS}/a", {"data": {"k": "v"}})
    await api.patch(f"{MAPS}/a", {"metadata": {"labels": {"on": None}}})
    events = await api.events(MAPS, 3, resourceVersion=version, labelSelector="on=1")
    assert [event["type"] for event in events] == ["ADDED", "MODIFIED", "DELETED"]


async def test_forgotten_versions_are_gone(api: ApiClient) -> None:
    """A watch from a version outside the history gets a 410 error event and ends."""
    created = await api.create(MAPS, {"metadata": {"name": "a"}})
    for index in range(250):
        await api.patch(f"{MAPS}/a", {"data": {"n": str(index)}})
    (event,) = await api.events(MAPS, 5, resourceVersion=created["metadata"]["resourceVersion"])
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")


async def test_initial_events_end_with_a_bookmark(api: ApiClient) -> None:
    """A streaming list ends its initial events with an annotated bookmark."""
    await api.create(MAPS, {"metadata": {"name": "a"}})
    events = await api.events(
        MAPS, 2, sendInitialEvents="true", allowWatchBookmarks="true", resourceVersionMatch="NotOlderThan"
    )
    assert [event["type"] for event in events] == ["ADDED", "BOOKMARK"]
    assert events[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_a_watch_ends_at_its_timeout(api: ApiClient) -> None:
    """A watch with timeoutSeconds ends at that time."""
    assert await api.events(MAPS, 1, timeoutSeconds="1") == []


async def test_a_named_watch_sees_one_object(api: ApiClient) -> None:
    """A watch of a single name by field selector sees no further object."""
    version = (await api.get(MAPS))["metadata"]["resourceVersion"]
    for name in ("a", "b"):
        await api.create(MAPS, {"metadata": {"name": name}})
    (event,) = await api.events(MAPS, 1, resourceVersion=version, fieldSelector="metadata.name=b")
    assert event["object"]["metadata"]["name"] == "b"
