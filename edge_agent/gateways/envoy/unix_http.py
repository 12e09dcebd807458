"""HTTP/1.1 over a Unix socket, blocking; for threads."""

import http.client
import socket
from pathlib import Path

ANSWER_WITHIN_S = 2.0  # Envoy's main thread also reads configuration: a tenth of a second for five hundred positions


class UnixConnection(http.client.HTTPConnection):
    """Raises: OSError, http.client.HTTPException."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=ANSWER_WITHIN_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))

    def ask(self, method: str, path: str) -> str:
        """The body of the answer. The connection stays open."""
        self.request(method, path)
        return self.getresponse().read().decode()
