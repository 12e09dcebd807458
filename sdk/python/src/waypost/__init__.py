"""Waypost's SDK: how an xApp calls the model at its position.

    import waypost

    with waypost.connect("http://127.0.0.1:7680", position="uav/path-prediction/tower-7", token=TOKEN) as position:
        with position.loop(deadline_s=0.1):
            answer = position.infer([[0.1, 0.2, 0.3]])
            steer(answer["y"])

`waypost.aio` is the same for asyncio, `waypost.testing` has a position for tests of xApps. Public is what stands
below. Each name is imported when it is first used: Waypost's own processes import `waypost.errors` and `waypost.rpc`
by the dozen, and must not pay for numpy (20 MB) each time.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from waypost import aio
    from waypost.answer import Answer
    from waypost.client import Position, connect
    from waypost.errors import (
        AlreadyExists,
        Cancelled,
        Conflict,
        DataLoss,
        DeadlineExceeded,
        Denied,
        Exhausted,
        Internal,
        Invalid,
        MeshError,
        NotFound,
        OutOfRange,
        Precondition,
        Unauthenticated,
        Unavailable,
        Unknown,
        Unsupported,
    )
    from waypost.loop import Loop, LoopCount
    from waypost.rpc.target import Tls
    from waypost.tensors import Signature, TensorSpec

__all__ = [
    "AlreadyExists",
    "Answer",
    "Cancelled",
    "Conflict",
    "DataLoss",
    "DeadlineExceeded",
    "Denied",
    "Exhausted",
    "Internal",
    "Invalid",
    "Loop",
    "LoopCount",
    "MeshError",
    "NotFound",
    "OutOfRange",
    "Position",
    "Precondition",
    "Signature",
    "TensorSpec",
    "Tls",
    "Unauthenticated",
    "Unavailable",
    "Unknown",
    "Unsupported",
    "aio",
    "connect",
]

_HOMES = {
    "Answer": "waypost.answer",
    "Loop": "waypost.loop",
    "LoopCount": "waypost.loop",
    "Position": "waypost.client",
    "Signature": "waypost.tensors",
    "TensorSpec": "waypost.tensors",
    "Tls": "waypost.rpc.target",
    "connect": "waypost.client",
}
"""Where public names live; those that are not named here are errors."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'waypost' has no attribute {name!r}")
    if name == "aio":
        return importlib.import_module("waypost.aio")
    value = getattr(importlib.import_module(_HOMES.get(name, "waypost.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
