"""One resource as it changes, across a platform that restarts meanwhile."""

import time
from collections.abc import Iterator
from typing import Any

from console.client import Client
from waypost.api.control.v1.watch_pb2 import WatchRequest, WatchResponse
from waypost.errors import DeadlineExceeded, Unavailable

RETRY_S = 0.3  # a control plane that restarts is back within a second or two


def forms(client: Client, name: str, *, within_s: float) -> Iterator[Any | None]:
    """The resource (full name) as it is, and then each newer form of it; None means that it is no more.

    Ends after `within_s` seconds. A broken watch is called again: its snapshot shows what was missed.
    Raises: MeshError for what waiting does not heal.
    """
    deadline = time.monotonic() + within_s
    while (left_s := deadline - time.monotonic()) > 0:
        try:
            yield from _watch_once(client, name, left_s)
        except DeadlineExceeded:
            return
        except Unavailable:
            pass
        time.sleep(min(RETRY_S, max(0.0, deadline - time.monotonic())))


def _watch_once(client: Client, name: str, within_s: float) -> Iterator[Any | None]:
    seen = False
    for response in client.stream(client.watches.Watch, WatchRequest(names=[name]), timeout=within_s):
        change = changed(response)
        if change == "snapshot_end":
            if not seen:
                yield None
        elif change == "deleted":
            if response.deleted == name:
                yield None
        elif (resource := getattr(response, change)).name == name:
            seen = True
            yield resource


def changed(response: WatchResponse) -> str:
    """Which of its fields a watch's message carries."""
    return response.WhichOneof("change") or "snapshot_end"
