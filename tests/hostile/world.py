"""`waypost up` with a position in service, and a channel to each server that it consists of."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import psutil
from google.rpc import status_pb2

from edge_agent.machine.layout import layout_of
from tests import models
from tests.e2e.platform import Platform
from tests.hostile.methods import Method
from tests.integration.control_plane_process import ControlPlaneProcess, enrol, make_edge_server
from waypost.api.xapp.v1.access_pb2 import RegisterRequest
from waypost.api.xapp.v1.access_pb2_grpc import AccessServiceStub
from waypost.rpc.status import DETAILS_KEY, from_status

CALL_S = 10.0  # none of these calls takes long: one that does hangs
STREAM_S = 0.2  # a stream that was let in may have nothing to say
VAGUE = {"UNKNOWN", "INTERNAL", "DEADLINE_EXCEEDED", "UNAVAILABLE", "DATA_LOSS"}
"""Codes that say nothing of what is wrong with a request; or the server hangs, or has died."""
Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Outcome:
    code: str
    reason: str = ""
    message: str = ""


@dataclass(frozen=True)
class Server:
    channel: grpc.Channel
    metadata: Metadata = ()

    def call(self, method: Method, requests: list[bytes]) -> Outcome:
        """requests: one, unless the caller streams. A stream that is still open after a moment was let in."""
        kind = f"{_way(method.descriptor.client_streaming)}_{_way(method.descriptor.server_streaming)}"
        start: Any = getattr(self.channel, kind)(method.path)  # bytes go in and come out
        given = iter(requests) if method.descriptor.client_streaming else requests[0]
        seconds = STREAM_S if method.streams else CALL_S
        try:
            answers = start(given, timeout=seconds, metadata=self.metadata)
            if method.descriptor.server_streaming:
                for _ in answers:
                    pass
        except grpc.RpcError as error:
            if method.streams and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                return Outcome("OK")
            return Outcome(error.code().name, _reason(error), error.details() or "")
        return Outcome("OK")


@dataclass(frozen=True)
class World:
    platform: Platform
    servers: dict[str, Server]
    """By the names of methods.SERVED_BY."""

    def processes(self, *, drained: bool = False) -> dict[int, psutil.Process]:
        """Everything that runs; where the edge server may be drained, what runs all the same."""
        return {
            process.pid: process
            for process in self.platform.processes()
            if not (drained and {"inference_host", "position_monitor"} & set(process.cmdline()))
        }


@contextmanager
def world(directory: Path) -> Iterator[World]:
    platform = Platform(directory)
    platform.up()
    try:
        platform.publish(models.affine(directory / "a.onnx", scale=2.0), "lab/affine/1")
        known = ("application", "get", "demo/lab")
        platform.until(lambda: platform.run(*known).returncode == 0, "the application is known")
        token = platform.token("lab")  # before the deployment, which brings it to the edge
        position = platform.deploy("lab/affine/1", "lab/hostile")
        with contextlib.ExitStack() as stack:
            yield World(platform, _servers(platform, position, token, stack))
    finally:
        platform.down()


def _servers(platform: Platform, position: Any, token: str, stack: contextlib.ExitStack) -> dict[str, Server]:
    def local(address: str, *metadata: tuple[str, str]) -> Server:
        return Server(stack.enter_context(grpc.insecure_channel(address)), metadata)

    def tls(address: str, credentials: grpc.ChannelCredentials, *metadata: tuple[str, str]) -> Server:
        return Server(stack.enter_context(grpc.secure_channel(address, credentials)), metadata)

    plane, layout = _control_plane(platform), layout_of(platform.data_dir / "edge", None)
    uid = position["uid"]
    paths = layout.position(uid, uid[:8])
    (replica,) = position["status"]["replicas"]
    monitor = local(paths.monitor_address)
    return {
        "api": tls(plane.api, grpc.ssl_channel_credentials(plane.roots), ("authorization", f"Bearer {plane.token}")),
        "link": tls(plane.link, asyncio.run(_identity(plane))),
        "agent": local(layout.agent_address),
        "box": local(layout.box_address),
        "monitor": monitor,
        "host": local(paths.host_address(replica["id"]), *_access(monitor, token)),
        "training": local(_training_address(platform)),
    }


def _control_plane(platform: Platform) -> ControlPlaneProcess:
    """The one that runs already."""
    context = json.loads((platform.data_dir / "context.json").read_text())
    (process,) = platform.processes("control_plane", "--link-listen")
    arguments = process.cmdline()
    plane = ControlPlaneProcess(platform.data_dir / "control-plane")
    plane.api, plane.link = context["address"], arguments[arguments.index("--link-listen") + 1]
    return plane


async def _identity(plane: ControlPlaneProcess) -> grpc.ChannelCredentials:
    """An edge server's, of its own."""
    async with plane.channel() as channel:
        certificate = await enrol(plane, await make_edge_server(channel, "hostile"))
    return grpc.ssl_channel_credentials(certificate.roots, certificate.key, certificate.chain)


def _access(monitor: Server, application_token: str) -> Metadata:
    stub = AccessServiceStub(monitor.channel)
    answer = stub.Register(RegisterRequest(application_token=application_token), timeout=CALL_S)
    return (("authorization", f"Bearer {answer.access_token}"),)


def _training_address(platform: Platform) -> str:
    (process,) = platform.processes("training_platform", "--listen")
    arguments = process.cmdline()
    return str(arguments[arguments.index("--listen") + 1])


def _way(streams: bool) -> str:
    return "stream" if streams else "unary"


def _reason(error: Any) -> str:
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            return from_status(status_pb2.Status.FromString(value)).reason
    return ""
