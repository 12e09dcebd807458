"""HTTP/1.1 over a Unix socket, blocking; for threads."""

import http.client
import socket
from pathlib import Path


class UnixConnection(http.client.HTTPConnection):
    """Raises: OSError, http.client.HTTPException."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))

    def ask(self, method: str, path: str) -> str:
        """The body of the answer. The connection stays open."""
        self.request(method, path)
        return self.getresponse().read().decode()
