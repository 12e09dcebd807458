"""How a call ended: gRPC's status codes, and what HTTP's and HTTP/2's ends mean in them."""

from waypost.codes import Status
from waypost.wire.faults import ErrorCode

__all__ = ["CallError", "Status", "status_of_http", "status_of_reset"]


class CallError(Exception):
    """A call that breaks gRPC's rules, or that a peer ended."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(f"{status.name}: {message}")
        self.status = status
        self.message = message


_OF_HTTP = {
    400: Status.INTERNAL,
    401: Status.UNAUTHENTICATED,
    403: Status.PERMISSION_DENIED,
    404: Status.UNIMPLEMENTED,
    429: Status.UNAVAILABLE,
    502: Status.UNAVAILABLE,
    503: Status.UNAVAILABLE,
    504: Status.UNAVAILABLE,
}
_OF_RESET: dict[int, Status] = {
    ErrorCode.NO_ERROR: Status.INTERNAL,
    ErrorCode.PROTOCOL_ERROR: Status.INTERNAL,
    ErrorCode.INTERNAL_ERROR: Status.INTERNAL,
    ErrorCode.FLOW_CONTROL_ERROR: Status.INTERNAL,
    ErrorCode.SETTINGS_TIMEOUT: Status.INTERNAL,
    ErrorCode.FRAME_SIZE_ERROR: Status.INTERNAL,
    ErrorCode.REFUSED_STREAM: Status.UNAVAILABLE,
    ErrorCode.CANCEL: Status.CANCELLED,
    ErrorCode.COMPRESSION_ERROR: Status.INTERNAL,
    ErrorCode.CONNECT_ERROR: Status.INTERNAL,
    ErrorCode.ENHANCE_YOUR_CALM: Status.RESOURCE_EXHAUSTED,
    ErrorCode.INADEQUATE_SECURITY: Status.PERMISSION_DENIED,
}


def status_of_http(http_status: int) -> Status:
    """For an answer without grpc-status, from a proxy for instance (gRPC's http-grpc-status-mapping)."""
    return _OF_HTTP.get(http_status, Status.UNKNOWN)


def status_of_reset(code: int) -> Status:
    """For a stream that was reset (PROTOCOL-HTTP2, section Errors)."""
    return _OF_RESET.get(code, Status.UNKNOWN)
