"""The gateway's directory: what Envoy watches, what it was started with, and which table all of it says.

    bootstrap.json               read once
    cds.json rds.json lds.json   watched; witness.json too, and sds.json where there is a certificate
    routes.json                  the table that was last live as a whole
    log lock pid command         Envoy's process (mesh/processes.py)

Files are renamed into place, which is what Envoy waits for, but not synchronised: after a power cut Envoy is gone
too, and where a file is not whole then, it begins from nothing.
"""

import contextlib
import json
import os
import re
from dataclasses import asdict
from pathlib import Path

from edge_agent.gateways.envoy.config import NOTHING, Resources
from edge_agent.gateways.routes import Backend, PositionRoute, RouteTable
from mesh.files import private_directory

WATCHED = ("cds", "rds", "lds", "witness")
VERSION = re.compile(r'{"version_info":"(\w+)"')
COMPLAINT = re.compile(r"\[[\w./]+:\d+\] (.*(?:rejected|update failure).*)")


class Files:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def bootstrap(self) -> str:
        """What Envoy was last started with; empty before the first time."""
        with contextlib.suppress(FileNotFoundError):
            return (self._directory / "bootstrap.json").read_text()
        return ""

    def reset(self, bootstrap: str) -> None:
        """Everything as at the very beginning: no table, no port open."""
        private_directory(self._directory)
        (self._directory / "routes.json").unlink(missing_ok=True)
        for kind in WATCHED:
            self.write(kind, NOTHING)
        self._rename("bootstrap.json", bootstrap)

    def whole(self) -> bool:
        """Whether Envoy could start with what is there."""
        with contextlib.suppress(OSError, ValueError):
            return all(json.loads((self._directory / f"{kind}.json").read_text()) for kind in WATCHED)
        return False

    def write(self, kind: str, resources: Resources) -> None:
        self._rename(f"{kind}.json", resources.text)

    def version(self, kind: str) -> str:
        """Of what stands in the file, whether Envoy has read it or not; empty where nothing is there."""
        with contextlib.suppress(FileNotFoundError), open(self._directory / f"{kind}.json") as file:
            found = VERSION.match(file.read(100))
            return found[1] if found else ""
        return ""

    def hold(self, table: RouteTable) -> None:
        """Notes that this table is live."""
        self._rename("routes.json", json.dumps([asdict(route) for route in table.routes]))

    def held(self) -> RouteTable | None:
        """The table that was last live; None where there was none, or its note cannot be read."""
        with contextlib.suppress(OSError, ValueError, TypeError):
            routes = json.loads((self._directory / "routes.json").read_text())
            return RouteTable(tuple(_route(**route) for route in routes))
        return None

    def log_size(self) -> int:
        with contextlib.suppress(FileNotFoundError):
            return (self._directory / "log").stat().st_size
        return 0

    def complaint(self, since: int) -> str:
        """Why Envoy did not take a file, by what it wrote to its log after its first `since` bytes."""
        with open(self._directory / "log", "rb") as log:
            log.seek(since)
            found = COMPLAINT.findall(log.read().decode(errors="replace"))
        return str(found[-1]) if found else "Envoy does not say why"

    def _rename(self, name: str, text: str) -> None:
        fresh = self._directory / f".{name}.new"
        fresh.write_text(text)
        os.replace(fresh, self._directory / name)


def _route(hosts: list[dict[str, object]], **fields: object) -> PositionRoute:
    return PositionRoute(hosts=tuple(Backend(**host) for host in hosts), **fields)  # type: ignore[arg-type]
