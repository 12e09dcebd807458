"""How the SDK and the mesh speak gRPC: channels with credentials, and errors that survive the wire."""

from waypost.rpc.channel import MESSAGE_BYTES_MAX, Tls, open_aio_channel, open_channel
from waypost.rpc.status import from_rpc_error, from_status, to_status

__all__ = [
    "MESSAGE_BYTES_MAX",
    "Tls",
    "from_rpc_error",
    "from_status",
    "open_aio_channel",
    "open_channel",
    "to_status",
]
