"""What is worth a line while `up` runs in the foreground: positions, edge servers, model versions, subscriptions."""

import asyncio
from collections.abc import Callable
from typing import Any

from console import columns, messages
from console.client import open_aio
from console.contexts import Context
from waypost import names
from waypost.api.control.v1.watch_pb2 import WatchRequest, WatchResponse
from waypost.api.control.v1.watch_pb2_grpc import WatchServiceStub
from waypost.errors import MeshError

RETRY_S = 0.5

Tell = Callable[[str, str], None]
"""Called with a resource's short name and what happened."""


async def follow(context: Context, tell: Tell) -> None:
    """Runs until cancelled. What is there at the beginning is not news."""
    seen: dict[str, str] = {}
    first = True
    while True:
        try:
            async with open_aio(context) as channel:
                stub: Any = WatchServiceStub(channel)
                async for response in stub.Watch(WatchRequest()):
                    if response.HasField("snapshot_end"):
                        first = False
                    for name, news in changes(response, seen):
                        if not first:
                            tell(name, news)
        except MeshError:
            pass  # the control plane is away; the supervision says so
        await asyncio.sleep(RETRY_S)


def changes(response: WatchResponse, seen: dict[str, str]) -> list[tuple[str, str]]:
    """Short names with what is new of them; `seen` holds what was said last, by full name."""
    if response.deleted:
        return [(names.short(response.deleted), "is gone")] if seen.pop(response.deleted, None) else []
    change = response.WhichOneof("change")
    if change is None or change not in NEWS:
        return []
    resource = getattr(response, change)
    news = NEWS[change](resource)
    if not news or seen.get(resource.name) == news:
        return []
    seen[resource.name] = news
    return [(names.short(resource.name), news)]


def _state(resource: Any) -> str:
    return f"{messages.word(resource.status, 'state')}  {resource.status.message}"


def _version(version: Any) -> str:
    problem = columns.problem(version.conditions)
    return messages.word(version, "state") + (f"  {problem}" if problem else "")


def _subscription(subscription: Any) -> str:
    state = columns.connected(subscription.status.conditions)
    return "connected" if state == "yes" else state


NEWS: dict[str, Callable[[Any], str]] = {
    "position": _state,
    "edge_server": _state,
    "model_version": _version,
    "subscription": _subscription,
}
"""Field of a watch's message -> what is worth saying of the resource in it."""
