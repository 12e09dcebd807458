"""What every server is asked: a model, a face and how much at once.

Closed loops of 1, 8 and 32 calls in flight, and an open loop at a rate that every server can hold.
"""

from dataclasses import dataclass

from tests.bench.load import Shape
from tests.bench.models import IMG, MLP, TS, Model
from tests.bench.requests import Face

OPEN_RATE = 200.0  # calls a second; the slowest peer manages twice that on one core


@dataclass(frozen=True, slots=True)
class Cell:
    model: Model
    face: Face
    in_flight: int
    """0: an open loop at OPEN_RATE."""
    brief: bool = False
    """Whether the quick form of the benchmark takes it too."""

    def __str__(self) -> str:
        how_much = f"c{self.in_flight}" if self.in_flight else f"{OPEN_RATE:.0f}/s"
        return f"{self.model.name} {self.face} {how_much}"

    def shape(self, seconds: float) -> Shape:
        if self.in_flight:
            return Shape(in_flight=self.in_flight, seconds=seconds)
        return Shape(rate=OPEN_RATE, seconds=seconds)


MLP_1 = Cell(MLP, Face.GRPC, 1, brief=True)
MLP_8 = Cell(MLP, Face.GRPC, 8, brief=True)
MLP_32 = Cell(MLP, Face.GRPC, 32)
MLP_OPEN = Cell(MLP, Face.GRPC, 0)
TS_8 = Cell(TS, Face.GRPC, 8, brief=True)
IMG_8 = Cell(IMG, Face.GRPC, 8, brief=True)
MLP_JSON_1 = Cell(MLP, Face.JSON, 1)
MLP_JSON_8 = Cell(MLP, Face.JSON, 8, brief=True)
MLP_JSON_32 = Cell(MLP, Face.JSON, 32)
MLP_JSON_OPEN = Cell(MLP, Face.JSON, 0)
TS_JSON_8 = Cell(TS, Face.JSON, 8)
IMG_BINARY_8 = Cell(IMG, Face.BINARY, 8, brief=True)

GRPC = (MLP_1, MLP_8, MLP_32, MLP_OPEN, TS_8, IMG_8)
HTTP = (MLP_JSON_1, MLP_JSON_8, MLP_JSON_32, MLP_JSON_OPEN, TS_JSON_8, IMG_BINARY_8)
ALL = (*GRPC, *HTTP)
