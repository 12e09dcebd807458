"""How the SDK and the mesh speak gRPC: channels with credentials, and errors that survive the wire.

Channels are grpc's, which is imported when the first of them is opened (8 MB): a host has none.
"""

import importlib
from typing import TYPE_CHECKING, Any

from waypost.rpc.status import from_rpc_error, from_status, grpc_code, to_status
from waypost.rpc.target import MESSAGE_BYTES_MAX, Tls

if TYPE_CHECKING:
    from waypost.rpc.channel import open_aio_channel, open_channel

__all__ = [
    "MESSAGE_BYTES_MAX",
    "Tls",
    "from_rpc_error",
    "from_status",
    "grpc_code",
    "open_aio_channel",
    "open_channel",
    "to_status",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'waypost.rpc' has no attribute {name!r}")
    return getattr(importlib.import_module("waypost.rpc.channel"), name)
