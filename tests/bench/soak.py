"""Does a host's memory settle? A million calls of all kinds, and what it holds after each hundred thousand.

python -m tests.bench.soak [--calls N]      what `make soak` runs; exit code 1 where memory grew

The driver sends the bulk, right calls over each face; beside it come the calls that tend to leave something behind:
errors, deadlines that pass, calls that are withdrawn, streams, connections for one call. The first calls fill what is
meant to be kept (memories of headers and tokens, onnxruntime's arenas, malloc's heaps); after them nothing may grow.
"""

import argparse
import asyncio
import contextlib
import http.client
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import psutil

from tests.bench import build, models
from tests.bench.build import CACHE
from tests.bench.load import Driver, Shape, Target
from tests.bench.machine import Cores
from tests.bench.models import IMG, MLP, TS, Floats, Model
from tests.bench.requests import Face, grpc_message
from tests.bench.servers import Room, Running
from tests.bench.waypost import Waypost
from waypost.errors import MeshError
from waypost.rpc.wire_channel import WireChannel

STEP = 100_000
SETTLED_SHARE = 0.4  # of all calls: then what is meant to be kept is there
GROWTH_BYTES_MAX = 1 << 20  # of each host afterwards: less than two bytes a call
BULK = ((MLP, Face.GRPC, 50), (MLP, Face.JSON, 20), (MLP, Face.BINARY, 10), (TS, Face.GRPC, 18), (IMG, Face.BINARY, 1))
"""Percent of the calls; those that go wrong are the rest."""
IN_FLIGHT = (1, 8, 32)  # in turn, so that batches of all sizes come
ODD_AT_ONCE = 20
SERVICE = "/inference.GRPCInferenceService"


def main() -> int:
    calls = _arguments().calls
    with tempfile.TemporaryDirectory(prefix="waypost-soak-") as scratch:
        kinds = (MLP, TS, IMG)
        samples = models.write(kinds, CACHE / "models")
        driver = Driver(build.driver(CACHE), Path(scratch), None)
        room = Room(CACHE, Path(scratch), CACHE / "models", samples, driver, Cores(None, None))
        with Waypost().start(kinds, room) as running:
            return _soak(running, room, calls)


def _soak(running: Running, room: Room, calls: int) -> int:
    held = [_memory(running)]
    _say(0, held)
    for step in range(calls // STEP):
        for number, (model, face, percent) in enumerate(BULK):
            _bulk(running, room, model, face, STEP * percent // 100, IN_FLIGHT[(step + number) % len(IN_FLIGHT)])
        asyncio.run(_odd(running.targets[MLP.name, Face.GRPC], room.samples[MLP.name][0].x, STEP // 100))
        held.append(_memory(running))
        _say((step + 1) * STEP, held)
    settled = held[round((len(held) - 1) * SETTLED_SHARE)]
    growth = {host: held[-1][host] - settled[host] for host in settled}
    grew = {host: more for host, more in growth.items() if more > GROWTH_BYTES_MAX}
    sys.stdout.write(f"growth since then: {_shown(growth)} MB; {'TOO MUCH' if grew else 'settled'}\n")
    return 1 if grew else 0


def _memory(running: Running) -> dict[str, int]:
    """Resident bytes of each host, by its model."""
    hosts = [psutil.Process(pid) for pid in running.processes.pids()]
    return {Path(host.cmdline()[-1]).parent.name: host.memory_info().rss for host in hosts}


def _bulk(running: Running, room: Room, model: Model, face: Face, calls: int, in_flight: int) -> None:
    shape = Shape(in_flight=in_flight, seconds=600.0, warm_up_s=0.0, timeout_ms=60_000, calls_max=calls)
    measured = room.driver.measure(running.targets[model.name, face], room.samples[model.name], shape, [])
    assert measured.clean, f"{model.name} over {face}: {measured.first_failure}"


async def _odd(target: Target, x: Floats, calls: int) -> None:
    """Calls that go wrong, or are none of inference."""
    token = list(target.headers.items())
    async with WireChannel(target.address, metadata=token) as channel:
        kinds = _kinds(target, channel, x)
        for begin in range(0, calls, ODD_AT_ONCE):
            chosen = [kinds[(begin + number) % len(kinds)] for number in range(ODD_AT_ONCE)]
            await asyncio.gather(*(_ignoring_errors(kind) for kind in chosen))


def _kinds(target: Target, channel: WireChannel, x: Floats) -> Sequence[Callable[[], Awaitable[object]]]:
    right = grpc_message(target.model, "odd", x)
    infer = f"{SERVICE}/ModelInfer"

    async def withdrawn() -> None:
        async with asyncio.timeout(0.0005):
            await channel.unary(infer, right)

    async def streamed() -> None:
        call = await channel.stream(f"{SERVICE}/ModelStreamInfer")
        for _ in range(5):
            await call.send(right)
            await call.receive()
        call.done_sending()
        await call.receive()

    async def connected_for_one() -> None:
        async with WireChannel(target.address, metadata=list(target.headers.items())) as own:
            await own.unary(infer, right)

    async def over_http() -> None:
        await asyncio.to_thread(_wrong_http, target.address)

    return (
        lambda: channel.unary(infer, right[:-3]),
        lambda: channel.unary(infer, grpc_message("nobody", "odd", x)),
        lambda: channel.unary(infer, grpc_message(target.model, "odd", x[:, :-1])),
        lambda: channel.unary(infer, right, timeout_s=0.00001),
        lambda: channel.unary(infer, right, metadata=[("authorization", "Bearer nothing")]),
        lambda: channel.unary(f"{SERVICE}/ModelStatistics", b""),
        lambda: channel.unary(f"{SERVICE}/ServerMetadata", b""),
        lambda: channel.unary("/grpc.health.v1.Health/Check", b""),
        lambda: channel.unary("/no.Such/Method", b""),
        withdrawn,
        streamed,
        connected_for_one,
        over_http,
    )


def _wrong_http(address: str) -> None:
    with contextlib.closing(http.client.HTTPConnection(address, timeout=10)) as connection:
        for path, body in (("/v2/models/mlp/infer", b"{"), ("/nowhere", b"")):
            connection.request("POST", path, body)
            connection.getresponse().read()


async def _ignoring_errors(kind: Callable[[], Awaitable[object]]) -> None:
    with contextlib.suppress(MeshError, TimeoutError):
        await kind()


def _say(calls: int, held: Sequence[dict[str, int]]) -> None:
    sys.stdout.write(f"{calls:>9,} calls   {_shown(held[-1])} MB\n")
    sys.stdout.flush()


def _shown(sizes: dict[str, int]) -> str:
    return "   ".join(f"{host} {size / 1e6:6.1f}" for host, size in sorted(sizes.items()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make soak", description="Memory over a million calls.")
    parser.add_argument("--calls", type=int, default=1_000_000, help=f"how many, in steps of {STEP:,}")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
