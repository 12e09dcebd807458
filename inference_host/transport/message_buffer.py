"""A large message's bytes, gathered where its tensors can be used without another copy.

Raw tensors stand at the end of a message, in ONNX and in the Open Inference Protocol alike; runtimes want theirs
aligned. So the buffer *ends* on an aligned address: the last tensor then begins on one too, whenever its size is a
multiple of the alignment, and nothing is copied between the socket's bytes and the model's.
"""

import numpy as np

ALIGNMENT_BYTES = 64  # a cache line; the widest vector registers; more than onnxruntime asks for
LARGE_BYTES = 64 << 10  # from here on a copy costs more than making a buffer to measure (about 3 µs)


class MessageBuffer:
    """A message of `size` bytes, as far as it has come. Memory that nothing was written to is not used yet."""

    __slots__ = ("_view", "filled", "size")

    def __init__(self, size: int) -> None:
        room = np.empty(size + ALIGNMENT_BYTES, np.uint8)
        start = -(int(room.__array_interface__["data"][0]) + size) % ALIGNMENT_BYTES
        self._view = room.data[start : start + size]
        self.size = size
        self.filled = 0

    def add(self, data: bytes | memoryview) -> int:
        """Takes what is missing, at most all of `data`. Returns how many bytes it took."""
        taken = min(len(data), self.size - self.filled)
        self._view[self.filled : self.filled + taken] = data[:taken] if taken < len(data) else data
        self.filled += taken
        return taken

    @property
    def room(self) -> memoryview:
        """For what is missing. Who writes there himself adds to `filled`."""
        return self._view[self.filled :]

    @property
    def complete(self) -> bool:
        return self.filled == self.size

    def message(self) -> memoryview:
        """All of it, read-only."""
        assert self.complete
        return self._view.toreadonly()
