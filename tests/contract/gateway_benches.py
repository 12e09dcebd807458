"""Benches for the gateway suite, by the gateway's name: the fake, and Envoy below one directory."""

import asyncio
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from edge_agent.gateways.base import Gateway
from edge_agent.gateways.envoy import EnvoyGateway, EnvoySettings
from edge_agent.gateways.fake import FakeGateway
from mesh.processes import Process
from tests.ports import free_port


class FakeBench:
    domain = "edge.test"
    carries_calls = False

    def __init__(self) -> None:
        self.directory = Path("/nowhere")
        self._gateway = FakeGateway()

    def gateway(self) -> Gateway:
        return self._gateway

    def kill(self) -> None:
        self._gateway.die()

    def complaints(self) -> list[str]:
        return []

    def close(self) -> None:
        pass


class EnvoyBench:
    domain = "edge.test"
    carries_calls = True

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="gw-"))  # short: a socket's path has at most 107 bytes
        data_dir = self.directory / "gateway"
        self.settings = EnvoySettings(data_dir, self.directory, f"127.0.0.1:{free_port()}", self.domain)
        self._gateways: list[EnvoyGateway] = []

    def gateway(self, **changes: Any) -> EnvoyGateway:
        """The same gateway, with changed settings."""
        self._gateways.append(EnvoyGateway(replace(self.settings, **changes)))
        return self._gateways[-1]

    def pid(self) -> int | None:
        return Process(self.settings.data_dir).pid()

    def log(self) -> str:
        return (self.settings.data_dir / "log").read_text()

    def complaints(self) -> list[str]:
        """What Envoy logs as warnings and above, but for its end."""
        return [line for line in self.log().splitlines() if "SIGTERM" not in line]

    def kill(self) -> None:
        if pid := self.pid():
            envoy = psutil.Process(pid)
            envoy.kill()
            envoy.wait(10)

    def close(self) -> None:
        """Kills it, and lets whoever started it notice: its parent is this very process."""
        self.kill()
        for gateway in self._gateways:
            assert asyncio.run(gateway.current()) is None
        shutil.rmtree(self.directory)


BENCHES: dict[str, type[FakeBench | EnvoyBench]] = {"fake": FakeBench, "envoy": EnvoyBench}
