"""Where everything of one agent lies: files under `data_dir`, sockets under `runtime_dir`.

    <data_dir>/    lock  identity/  ledger/  artifacts/sha256/<hex>  versions/<digest16>/  gateway/
                   software/<version>/
                   positions/<uid>/  signing_key.pem  jwks.json  monitor/  hosts/<replica>/  identities/
    <runtime_dir>/ agent.sock  box.sock  <short>/monitor.sock  <short>/<replica>.sock

A Unix socket's path may have 107 characters and no more, hence a directory of its own for them and `short`, the first
hex digits of a position's uid, in the place of the uid.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from mesh.files import SOCKET_PATH_BYTES_MAX, private_directory

_LONGEST_BELOW = len("/12345678/r-abcdef.sock")


def runtime_directory(data_dir: Path) -> Path:
    """`<data_dir>/run` where sockets fit below it, else a private directory under XDG_RUNTIME_DIR or /tmp."""
    inside = data_dir.resolve() / "run"
    if len(os.fsencode(inside)) + _LONGEST_BELOW <= SOCKET_PATH_BYTES_MAX:
        return inside
    digest = hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:8]
    return Path(os.environ.get("XDG_RUNTIME_DIR") or "/tmp") / f"waypost-{digest}"


def layout_of(data_dir: Path, runtime_dir: Path | None) -> "Layout":
    """Absolute paths, for processes that start elsewhere.

    A link in the place of the runtime directory is not followed: others may have made it, and it is refused.
    """
    runtime_dir = Path(os.path.abspath(runtime_dir or runtime_directory(data_dir)))
    return Layout(data_dir.resolve(), runtime_dir.parent.resolve() / runtime_dir.name)


@dataclass(frozen=True, slots=True)
class PositionPaths:
    """Of one position."""

    home: Path
    sockets: Path

    @property
    def signing_key(self) -> Path:
        return self.home / "signing_key.pem"

    @property
    def jwks(self) -> Path:
        return self.home / "jwks.json"

    @property
    def monitor(self) -> Path:
        """The monitor's process directory."""
        return self.home / "monitor"

    @property
    def hosts(self) -> Path:
        """One process directory per replica, named by its id."""
        return self.home / "hosts"

    @property
    def identities(self) -> Path:
        """Certificates for links over TLS."""
        return self.home / "identities"

    def identity(self, id_: str) -> Path:
        """Of a replica or the monitor, as mesh.identity has it."""
        return self.identities / id_

    @property
    def monitor_address(self) -> str:
        """HostLinkService and AccessService."""
        return f"unix:{self.sockets / 'monitor.sock'}"

    def host_address(self, replica: str) -> str:
        """gRPC and HTTP, on one socket."""
        return f"unix:{self.sockets / replica}.sock"


@dataclass(frozen=True, slots=True)
class Layout:
    """Of one agent."""

    data_dir: Path
    runtime_dir: Path

    def create(self) -> None:
        """Makes the directories that everything else lies in. Raises: Precondition(DIRECTORY_UNSAFE); OSError."""
        for path in (self.data_dir, self.runtime_dir, self.ledger, self.blobs, self.versions, self.positions):
            private_directory(path)

    @property
    def lock(self) -> Path:
        return self.data_dir / "lock"

    @property
    def identity(self) -> Path:
        return self.data_dir / "identity"

    @property
    def ledger(self) -> Path:
        return self.data_dir / "ledger"

    @property
    def blobs(self) -> Path:
        """Artifacts, named by the hex of their sha256."""
        return self.data_dir / "artifacts" / "sha256"

    @property
    def versions(self) -> Path:
        return self.data_dir / "versions"

    @property
    def positions(self) -> Path:
        return self.data_dir / "positions"

    @property
    def software(self) -> Path:
        """Versions of the platform's software (software.py)."""
        return self.data_dir / "software"

    @property
    def gateway(self) -> Path:
        return self.data_dir / "gateway"

    @property
    def agent_address(self) -> str:
        """MonitorLinkService."""
        return f"unix:{self.runtime_dir / 'agent.sock'}"

    @property
    def box_address(self) -> str:
        """AgentService, for people on the machine."""
        return f"unix:{self.runtime_dir / 'box.sock'}"

    def position(self, uid: str, short: str) -> PositionPaths:
        return PositionPaths(self.positions / uid, self.runtime_dir / short)
