"""A slow model beside the tiny one, on the same core: how long does the tiny one wait?

The tiny model is called 500 times a second in an open loop, alone, then with 50 images a second beside it, then alone
again. Once as deployed, which is two hosts, and once with both models in one host.
"""

from collections.abc import Sequence

from tests.bench.load import DriverFailed, Shape, finish
from tests.bench.models import IMG, MLP
from tests.bench.passes import OURS, TROUBLE, Observed, Record, observe
from tests.bench.requests import Face
from tests.bench.rows import Row
from tests.bench.servers import Room, Running, Server
from tests.bench.waypost import Repository

TINY_RATE, SLOW_RATE = 500.0, 50.0  # calls a second
LEAD_S = 0.3  # that the slow calls begin earlier and end later
KIND, ALONE, BESIDE = "mix", "alone", "beside img"
SERVERS: Sequence[Server] = (OURS, Repository())


def mixes(round_: int, seconds: float, room: Room, record: Record) -> None:
    for server in SERVERS:
        try:
            with server.start([MLP, IMG], room) as running:
                for turn, what in enumerate((ALONE, BESIDE, ALONE)):
                    observed = _tiny(running, seconds, room, crowded=what is BESIDE)
                    record.rows.append(Row(KIND, what, server.name, "", round_, turn, observed.values()))
        except TROUBLE as trouble:
            record.gap(f"models side by side in {server.name}", trouble)


def _tiny(running: Running, seconds: float, room: Room, *, crowded: bool) -> Observed:
    shape = Shape(rate=TINY_RATE, seconds=seconds, warm_up_s=LEAD_S)
    target, samples = running.targets[MLP.name, Face.GRPC], room.samples[MLP.name]
    if not crowded:
        return observe(running, target, samples, shape, room).clean()
    slow = Shape(rate=SLOW_RATE, seconds=seconds + 2 * LEAD_S, warm_up_s=0)
    with room.driver.start(running.targets[IMG.name, Face.GRPC], room.samples[IMG.name], slow) as images:
        observed = observe(running, target, samples, shape, room)
        if not finish(images, slow).clean:
            raise DriverFailed("calls to the slow model failed")
    return observed.clean()
