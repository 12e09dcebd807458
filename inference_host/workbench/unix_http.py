"""HTTP over a Unix socket, as far as a test of a host needs it. Blocks."""

import http.client
import json
import socket

from inference_host.faces.http_errors import STATUSES
from inference_host.faces.http_inference import JSON_BYTES_HEADER
from waypost.errors import Internal, MeshError


class Http:
    """One connection, opened with the first request."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._connection: http.client.HTTPConnection | None = None

    def post(self, path: str, body: bytes, json_bytes: int | None) -> tuple[bytes, int | None]:
        """json_bytes: how much of the body is JSON, None for all of it; of the answer likewise. Raises: MeshError."""
        connection = self._connection = self._connection or self._open()
        headers = {} if json_bytes is None else {JSON_BYTES_HEADER: str(json_bytes)}
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        content = response.read()
        if response.status != http.client.OK:
            raise _error(response.status, content)
        length = response.getheader(JSON_BYTES_HEADER)
        return content, None if length is None else int(length)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _open(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(self._path)
        return connection


def _error(status: int, content: bytes) -> MeshError:
    """As every face of a host writes it (http_errors)."""
    said = json.loads(content)
    kind = next((kind for kind, number in STATUSES.items() if number == status), Internal)
    return kind(said.get("reason", f"HTTP_{status}"), said["error"])
