"""What TLS costs a call: the same server in the clear and encrypted, in turns.

Our host and the C++ server, the tiny model, eight calls in flight. There is no goal: it is OpenSSL on both sides, and
what is left between them is how the bytes get there and back.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tests.bench import cells
from tests.bench.models import MLP
from tests.bench.passes import OURS, TROUBLE, Record, face_of, observe
from tests.bench.rows import Row
from tests.bench.servers import CPP, Peer, Room, Running, Server

KIND = "tls"
CELLS = (cells.MLP_8, cells.MLP_JSON_8)


@dataclass(frozen=True, slots=True)
class Pair:
    """One server, both ways."""

    plain: Server
    encrypted: Server


OURS_BOTH = Pair(OURS, replace(OURS, name="waypost-tls", tls=True))
CPP_BOTH = Pair(CPP, replace(CPP, name="cpp-tls", tls=True))
PAIRS = (OURS_BOTH, CPP_BOTH)


def encrypted(round_: int, seconds: float, peers: Sequence[Peer], room: Room, record: Record) -> None:
    """peers: those that are there."""
    for pair in PAIRS if CPP in peers else (OURS_BOTH,):
        try:
            with pair.plain.start([MLP], room) as plain, pair.encrypted.start([MLP], room) as tls:
                _measure(pair, plain, tls, round_, seconds, room, record)
        except TROUBLE as trouble:
            record.gap(f"TLS of {pair.plain.name}", trouble)


def _measure(pair: Pair, plain: Running, tls: Running, round_: int, seconds: float, room: Room, record: Record) -> None:
    for cell in CELLS:
        if face_of(pair.plain, cell.face) is None:
            continue
        turns = ((pair.plain, plain), (pair.encrypted, tls), (pair.plain, plain))
        for number, (server, running) in enumerate(turns):
            target, samples = running.targets[MLP.name, cell.face], room.samples[MLP.name]
            values = observe(running, target, samples, cell.shape(seconds), room).clean().values()
            record.rows.append(Row(KIND, str(cell), server.name, pair.plain.name, round_, number, values))
