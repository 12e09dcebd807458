"""MeshError on the wire: `google.rpc.Status` with `ErrorInfo` (reason, metadata) and `LocalizedMessage` (the hint).
Where it is known when to come back, `RetryInfo` says it as well, for clients that know nothing of us.

The rules are those of AIP-193; `google.rpc.Help` carries links only, so the next step travels as a localized message.
"""

from typing import TYPE_CHECKING, Any

from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from waypost.codes import Status
from waypost.errors import BY_CODE, RETRY_AFTER, MeshError, Unknown

if TYPE_CHECKING:
    import grpc

DOMAIN = "waypost"
DETAILS_KEY = "grpc-status-details-bin"
METADATA_CHARACTERS_MAX = 200  # trailers must stay below 8 KiB in all (gRPC's default limit on metadata)
MESSAGE_CHARACTERS_MAX = 1000

_NAMES = {status.value: status.name for status in Status}


def to_status(error: MeshError) -> status_pb2.Status:
    """Nothing of a MeshError is lost but overlong texts."""
    message = error.message[:MESSAGE_CHARACTERS_MAX]
    status = status_pb2.Status(code=error.code, message=message)
    metadata = {key: value[:METADATA_CHARACTERS_MAX] for key, value in error.metadata.items()}
    _pack(status, error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata))
    if RETRY_AFTER in error.metadata:
        delay = error_details_pb2.RetryInfo()
        delay.retry_delay.FromMilliseconds(int(error.metadata[RETRY_AFTER]))
        _pack(status, delay)
    if error.hint:
        _pack(status, error_details_pb2.LocalizedMessage(locale="en", message=error.hint[:MESSAGE_CHARACTERS_MAX]))
    return status


def from_status(status: status_pb2.Status) -> MeshError:
    """The error that `to_status` was given, or the nearest class for a status from elsewhere."""
    info = error_details_pb2.ErrorInfo()
    hint = error_details_pb2.LocalizedMessage()
    delay = error_details_pb2.RetryInfo()
    for detail in status.details:
        _ = detail.Unpack(info) or detail.Unpack(hint) or detail.Unpack(delay)
    metadata = dict(info.metadata)
    if delay.HasField("retry_delay"):
        metadata[RETRY_AFTER] = str(delay.retry_delay.ToMilliseconds())
    kind = BY_CODE.get(status.code, Unknown)
    return kind(info.reason or _NAMES.get(status.code, "UNKNOWN"), status.message, hint.message, **metadata)


def from_rpc_error(error: "grpc.RpcError") -> MeshError:
    """The MeshError inside what grpc raised: `grpc.RpcError` of a sync call, `grpc.aio.AioRpcError` of an async one."""
    trailers: Any = error.trailing_metadata()
    for key, value in trailers or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            return from_status(status_pb2.Status.FromString(value))
    return of_code(Status(error.code().value[0]), error.details() or "")


def of_code(code: Status, message: str) -> MeshError:
    """For a status of somebody else's: the code is all the reason there is. message: empty where there is none."""
    kind = BY_CODE.get(code, Unknown)
    return kind(code.name, message or code.name.replace("_", " ").lower())


def grpc_code(code: Status) -> "grpc.StatusCode":
    """For grpc's servers: `context.abort(grpc_code(error.code), error.message)`."""
    import grpc  # 8 MB; whoever has one of its servers has it already

    return grpc.StatusCode[code.name]


def _pack(status: status_pb2.Status, detail: Message) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)
    status.details.append(packed)
