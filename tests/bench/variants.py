"""The same server in another way, in turns with itself: what does TLS cost, what does compiling gain?

The tiny model, eight calls in flight. There are no goals: encryption is OpenSSL's on both sides, and what is left
between them is how the bytes get there and back; and who has no compiled wheel wants to know what the host costs
interpreted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tests.bench import cells
from tests.bench.models import MLP
from tests.bench.passes import OURS, TROUBLE, Record, face_of, observe
from tests.bench.rows import Row
from tests.bench.servers import CPP, Peer, Room, Running, Server

KIND = "variant"
CELLS = (cells.MLP_8, cells.MLP_JSON_8)


@dataclass(frozen=True, slots=True)
class Variant:
    """A server, and the same in another way."""

    way: str
    usual: Server
    other: Server


ENCRYPTED = Variant("with TLS", OURS, replace(OURS, name="waypost-tls", tls=True))
CPP_ENCRYPTED = Variant("with TLS", CPP, replace(CPP, name="cpp-tls", tls=True))
INTERPRETED = Variant("interpreted", OURS, replace(OURS, name="waypost-interpreted", compiled=False))
VARIANTS: Sequence[Variant] = (INTERPRETED, ENCRYPTED, CPP_ENCRYPTED)


def variants(round_: int, seconds: float, peers: Sequence[Peer], room: Room, record: Record) -> None:
    """peers: those that are there."""
    for variant in VARIANTS:
        if variant.usual is not OURS and variant.usual not in peers:
            continue
        try:
            with variant.usual.start([MLP], room) as usual, variant.other.start([MLP], room) as other:
                _measure(variant, usual, other, round_, seconds, room, record)
        except TROUBLE as trouble:
            record.gap(f"{variant.usual.name} {variant.way}", trouble)


def _measure(
    variant: Variant, usual: Running, other: Running, round_: int, seconds: float, room: Room, record: Record
) -> None:
    for cell in CELLS:
        if face_of(variant.usual, cell.face) is None:
            continue
        turns = ((variant.usual, usual), (variant.other, other), (variant.usual, usual))
        for number, (server, running) in enumerate(turns):
            target, samples = running.targets[MLP.name, cell.face], room.samples[MLP.name]
            values = observe(running, target, samples, cell.shape(seconds), room).clean().values()
            record.rows.append(Row(KIND, str(cell), server.name, variant.other.name, round_, number, values))
