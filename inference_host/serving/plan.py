"""What follows from the form of a call: checked and measured once, for all calls that repeat it.

A form is everything in a request but its id and its values. Its plan says which lane such calls go to, which outputs
they get, how large they are and with whom they may share a run. Faces keep forms (calls.Form), the data plane the
plans; a version that lets no calls in any more takes its lanes out of them.
"""

from collections.abc import Hashable

from inference_host.model.template import Arrays
from inference_host.serving.calibration import elements, has_rows
from inference_host.serving.lane import Lane
from inference_host.serving.runs import Ask
from inference_host.values.calls import Call, Done, Place, place_of, refuse_sequence
from inference_host.values.signature import Signature, TensorSpec
from inference_host.values.tensors import Array


class Way:
    """To a lane. All plans that lead there share it."""

    __slots__ = ("lane",)

    def __init__(self, lane: Lane) -> None:
        self.lane: Lane | None = lane
        """None when its model lets no calls in any more: plans are kept by those who call, and must not keep it."""


class Plan:
    """What calls of one form come to: checked and measured once."""

    def __init__(
        self, way: Way, inputs: Arrays, wanted: tuple[TensorSpec, ...], grouping: "Grouping", *, keeps_state: bool
    ) -> None:
        self.way = way
        self.wanted = wanted
        self.rows, self.size, self.bytes, group = grouping.of(inputs)
        self.group = None if keeps_state else group
        self._keeps_state = keeps_state

    def place(self, call: Call) -> Place | None:
        """Which step of which sequence it is. Raises: Invalid(BAD_PARAMETER), Unsupported(UNSUPPORTED_PARAMETER)."""
        if self._keeps_state:
            return place_of(call)
        refuse_sequence(call)
        return None

    def ask(self, call: Call, deadline: float, done: Done, arrived: float) -> Ask:
        """A call on its way."""
        inputs: Arrays = {}
        for tensor in call.inputs:
            inputs[tensor.name] = tensor.array
        bytes_ = self.bytes if self.bytes >= 0 else sum(map(_bytes, inputs.values()))
        return Ask(self, bytes_, deadline, call.id, inputs, done, arrived)


class Grouping:
    """How large the calls of a model are, and which of them may go together."""

    def __init__(self, signature: Signature) -> None:
        self._has_rows = has_rows(signature)
        self._one_tail = all(-1 not in spec.shape[1:] for spec in signature.inputs)
        self._has_text = any(spec.datatype == "BYTES" for spec in signature.inputs)

    def of(self, inputs: Arrays) -> tuple[int, int, int, Hashable]:
        """Rows, elements, bytes and the group.

        bytes: -1 where they do not follow from the shapes. group: None for calls that go with no others.
        """
        size = elements(inputs)
        bytes_ = -1 if self._has_text else sum(map(_bytes, inputs.values()))
        if not self._has_rows:
            return 1, size, bytes_, None
        rows, *others = [array.shape[0] for array in inputs.values()]
        if not rows or any(other != rows for other in others):
            return rows, size, bytes_, None
        return rows, size, bytes_, () if self._one_tail else tuple([array.shape[1:] for array in inputs.values()])


def _bytes(array: Array) -> int:
    """numpy does not count texts: it sees the pointers only."""
    return array.nbytes + (sum(map(len, array.flat)) if array.dtype == object else 0)
