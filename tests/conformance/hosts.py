"""Real host processes for tests: started as a person or an agent would, stopped as the platform would."""

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mesh.settings import dump_toml
from tests.waiting import wait_until

FRONTS = ("h2", "grpcio")
"""What may serve gRPC: our own HTTP/2, or grpcio. One suite for both."""

START_S = 30.0  # on a busy machine; alone it takes a second
END_S = 20.0


@dataclass(frozen=True)
class RunningHost:
    """A host that serves."""

    process: subprocess.Popen[str]
    address: str
    """gRPC and HTTP."""
    log: Path
    grpcio: str = ""
    """gRPC by grpcio's own server, where that was asked for."""

    def grpc(self, front: str) -> str:
        """Address of one of FRONTS."""
        address = {"h2": self.address, "grpcio": self.grpcio}[front]
        assert address, f"this host was started without {front}"
        return address

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(END_S)


@contextlib.contextmanager
def by_hand(
    model: Path, log: Path, *flags: str, front: str = "h2", listen: str = "127.0.0.1:0"
) -> Iterator[RunningHost]:
    """`waypost host run MODEL` on ports of the kernel's choice. Killed at the end where it still runs."""
    also = ("--grpcio-listen", listen) if front == "grpcio" else ()
    with _process(["run", str(model), "--listen", listen, *also, *flags], log) as process:
        addresses: dict[str, str] = {}
        assert process.stdout is not None
        for line in process.stdout:
            kind, _, address = line.strip().partition("  ")
            addresses[kind] = address.strip()
            if line.startswith("  curl"):
                break
        assert "gRPC and HTTP" in addresses, log.read_text()
        yield RunningHost(process, addresses["gRPC and HTTP"], log, addresses.get("gRPC (grpcio)", ""))


@contextlib.contextmanager
def at_position(directory: Path, *, front: str = "h2", **settings: str | int | float | bool) -> Iterator[RunningHost]:
    """A host as an agent starts it: settings in a file, Unix sockets. Yields at once: it may be loading still."""
    address, grpcio = f"unix:{directory}/host.sock", f"unix:{directory}/grpcio.sock" if front == "grpcio" else ""
    values = {"listen": address, "grpcio_listen": grpcio, **settings}
    (directory / "settings.toml").write_text(dump_toml(values))
    with _process(["run", "--settings", str(directory / "settings.toml")], directory / "log") as process:
        yield RunningHost(process, address, directory / "log", grpcio)


def bound_address(host: RunningHost) -> str:
    """Where a host that was told to take any port listens, once it is ready."""

    def told() -> str:
        assert host.process.poll() is None, host.log.read_text()
        ready = (line for line in host.log.read_text().splitlines() if '"host_ready"' in line)
        return next((json.loads(line)["listen"][0] for line in ready), "")

    return wait_until(told, what="the host listens", more=host.log.read_text)


def check(package: Path) -> tuple[int, dict[str, Any]]:
    """`waypost host check`: exit code and verdict; no verdict where the process died."""
    done = subprocess.run(
        [sys.executable, "-m", "inference_host", "check", str(package)],
        capture_output=True,
        text=True,
        timeout=END_S * 2,
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else {}


def wait_until_serving(host: RunningHost, service: str = "") -> None:
    """Asks grpc.health.v1 until it says SERVING, as an agent does."""
    with grpc.insecure_channel(host.address, [("grpc.default_authority", "localhost")]) as channel:
        health, request = health_pb2_grpc.HealthStub(channel), health_pb2.HealthCheckRequest(service=service)

        def serves() -> bool:
            assert host.process.poll() is None, host.log.read_text()
            with contextlib.suppress(grpc.RpcError):
                answer = health.Check(request, timeout=1.0, wait_for_ready=True)
                return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
            return False

        wait_until(serves, what=f"{service or 'the host'} serves", more=host.log.read_text)


@contextlib.contextmanager
def _process(argv: list[str], log: Path) -> Iterator[subprocess.Popen[str]]:
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "inference_host", *argv], stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(END_S)
        assert process.stdout is not None
        process.stdout.close()
