"""Errors as HTTP tells them: `{"error": "..."}` with a status, which is what every client of the protocol reads."""

import math
from typing import Any

import orjson

from inference_host.transport.http1_core import Response
from waypost import errors
from waypost.errors import RETRY_AFTER, MeshError

STATUSES: dict[type[MeshError], int] = {
    errors.Invalid: 400,
    errors.OutOfRange: 400,
    errors.AlreadyExists: 400,
    errors.Cancelled: 400,
    errors.Precondition: 400,
    errors.Unauthenticated: 401,
    errors.Denied: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Exhausted: 429,
    errors.Unsupported: 501,
    errors.Unavailable: 503,
    errors.DeadlineExceeded: 504,
}
"""What is not here is a fault of ours: 500."""


def json_response(status: int, message: Any) -> Response:
    return Response(status, [orjson.dumps(message)])


def error_response(status: int, message: str, reason: str = "", hint: str = "") -> Response:
    """`reason` and `hint` stand beside the message where there are any, for those who read them."""
    details = {"error": message, "reason": reason, "hint": hint}
    return json_response(status, {key: value for key, value in details.items() if value or key == "error"})


def refusal(error: MeshError) -> Response:
    response = error_response(STATUSES.get(type(error), 500), error.message, error.reason, error.hint)
    if response.status == 401:
        response.headers = [("www-authenticate", "Bearer")]
    if RETRY_AFTER in error.metadata:  # whole seconds, no sooner than said (RFC 9110, section 10.2.3)
        response.headers = [("retry-after", str(math.ceil(int(error.metadata[RETRY_AFTER]) / 1e3)))]
    return response
