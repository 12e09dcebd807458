"""What a position answered, and who answered."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from waypost.errors import Precondition
from waypost.tensors import Array


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Answer(Mapping[str, Array]):
    """The model's outputs by name: numpy arrays, read-only.

    Each answer names the model that gave it, because a position's model may change between two calls.
    """

    outputs: Mapping[str, Array]
    model_version: str
    """Full name of the model version."""
    digest: str
    """Identity of the bytes behind that name: `sha256:...`."""
    generation: int
    """Generation of the position's spec that the host was started for."""
    replica: str
    """Which of the position's hosts."""
    latency_s: float
    """From `infer` called to answer there, retries included."""

    @property
    def output(self) -> Array:
        """The only output. Raises: Precondition(SEVERAL_OUTPUTS) where the model has more than one."""
        if len(self.outputs) != 1:
            names = ", ".join(self.outputs)
            raise Precondition("SEVERAL_OUTPUTS", f"the model has {len(self.outputs)} outputs", f"name one of {names}")
        return next(iter(self.outputs.values()))

    def __getitem__(self, name: str) -> Array:
        return self.outputs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.outputs)

    def __len__(self) -> int:
        return len(self.outputs)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name}={array.dtype}{list(array.shape)}" for name, array in self.outputs.items())
        return f"Answer({shapes}, model_version={self.model_version!r}, latency_s={self.latency_s:.4f})"
