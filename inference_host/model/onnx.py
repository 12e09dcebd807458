"""The default template: an ONNX graph, run by onnxruntime on the CPU. The only place that imports it.

Options, each measured on three models from 676 parameters to 1.1 million: one thread between operators, and one within
them unless a slow graph is found to gain from more (loader.prepare); no spinning in any case, because a second thread
that spins doubles the time and the CPU of every model on one core; the memory arena on, because without it small models
take a fifth longer. Inputs are not bound to the session: that costs tiny models a microsecond and saves large ones none
that could be measured.

onnxruntime tells what is wrong in five exception types and free text. `_REFUSALS` turns them into reasons that a
person can act on; the text of each was seen with onnxruntime 1.32 (tests/unit/inference_host/model/test_onnx.py makes a
model for every row).
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inference_host.model.template import Arrays, Context, Template
from inference_host.values.signature import Signature, TensorSpec
from inference_host.values.tensors import Array
from waypost.errors import Exhausted, Internal, Invalid, MeshError, Precondition

DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}
"""onnxruntime's types that numpy can carry. bfloat16 cannot cross its Python interface."""

NO_MEMORY = re.compile("Failed to allocate memory|bad_alloc", re.IGNORECASE)

_REFUSALS: Sequence[tuple[str, str, str]] = (
    (
        r"No Op registered for|is not a registered function/op|Could not find an implementation for",
        "UNSUPPORTED_OPERATOR",
        "export the model with operators of the standard ONNX set, of an older opset if need be, or bring a template",
    ),
    (
        r"only \*guarantees\* support for models stamped with official released|Unsupported model IR version",
        "UNSUPPORTED_OPSET",
        "export the model again for an older opset, or update the host",
    ),
    (
        r"External data path|File doesn't exist|cannot get file size",
        "MISSING_FILE",
        "publish the model with its external data files, or export it as one file",
    ),
    (
        NO_MEMORY.pattern,
        "OUT_OF_MEMORY",
        "give the replica more memory (spec.resources.memory_bytes) or shrink the model",
    ),
    (
        r"Protobuf parsing failed|No graph was found in the protobuf|ModelProto does not have a graph",
        "CORRUPT_MODEL",
        "the file is no ONNX model, or only a part of one: publish it again",
    ),
)
_OTHERWISE = ("INVALID_MODEL", "check the export with onnx.checker.check_model, then publish the model again")


class OnnxTemplate(Template):
    """Serves one graph. `load` reads the signature from it."""

    batches = True

    def __init__(self) -> None:
        self._session: Any = None
        self._outputs: list[str] = []
        self._text_inputs: frozenset[str] = frozenset()
        self._has_text_outputs = False

    def load(self, context: Context) -> None:
        """Raises: Precondition with one of the reasons above, or UNSUPPORTED_DATATYPE."""
        assert context.model_file is not None
        self._session = _open(context.model_file, context.threads)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self.signature = Signature(tuple(map(_spec, inputs)), tuple(map(_spec, outputs)))
        self._outputs = [spec.name for spec in self.signature.outputs]
        self._text_inputs = frozenset(spec.name for spec in self.signature.inputs if spec.datatype == "BYTES")
        self._has_text_outputs = any(spec.datatype == "BYTES" for spec in self.signature.outputs)

    def preprocess(self, inputs: Arrays) -> Arrays:
        if not self._text_inputs:
            return inputs
        return {name: _text(name, array) if name in self._text_inputs else array for name, array in inputs.items()}

    def predict(self, prepared: Arrays) -> Arrays:
        """Raises: Invalid(WRONG_SHAPE), Exhausted(OUT_OF_MEMORY), Internal(MODEL_FAILED)."""
        try:
            values = self._session.run(self._outputs, prepared)
        except Exception as error:  # onnxruntime's exceptions have no common base
            raise _run_failure(error) from error
        return dict(zip(self._outputs, values, strict=True))

    def postprocess(self, predicted: Arrays) -> Arrays:
        if not self._has_text_outputs:
            return predicted
        return {name: _bytes(array) if array.dtype == object else array for name, array in predicted.items()}


def refusal(text: str, file: Path) -> Precondition:
    """Why a graph cannot be loaded, from onnxruntime's words."""
    message = f"{file.name}: {_essence(text).replace(f'{file.parent}/', '')}"
    for pattern, reason, hint in _REFUSALS:
        if re.search(pattern, text, re.IGNORECASE):
            return Precondition(reason, message, hint)
    return Precondition(_OTHERWISE[0], message, _OTHERWISE[1])


def _open(file: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # what goes wrong arrives as an exception as well
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except MemoryError as error:
        raise refusal("bad_alloc", file) from error
    except Exception as error:  # onnxruntime's exceptions have no common base
        raise refusal(str(error), file) from error


def _spec(argument: Any) -> TensorSpec:
    """Sizes that are a symbol or unknown vary."""
    datatype = DATATYPES.get(argument.type)
    if datatype is None:
        raise Precondition(
            "UNSUPPORTED_DATATYPE",
            f"{argument.name!r} is {argument.type}, which the protocol cannot carry",
            "export the model with plain tensors (scikit-learn: options={'zipmap': False}), or bring a template",
        )
    return TensorSpec(argument.name, datatype, tuple(size if isinstance(size, int) else -1 for size in argument.shape))


def _run_failure(error: Exception) -> MeshError:
    text = str(error)
    if NO_MEMORY.search(text):
        return Exhausted("OUT_OF_MEMORY", "the model found no memory for this request", "send a smaller batch")
    if "INVALID_ARGUMENT" in text:
        return Invalid("WRONG_SHAPE", _essence(text), "see the model's metadata for what it takes")
    return Internal("MODEL_FAILED", f"the model failed on this request: {_essence(text)}")


def _essence(text: str) -> str:
    """Without the prefix, the source positions and the file's path that onnxruntime writes around its one sentence."""
    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    text = re.sub(r"Load model from .*? failed:", "", text)
    text = re.sub(r"/onnxruntime_src/\S+(?: [^\n]*?\))? (?=[A-Z])", "", text)
    return " ".join(text.split())[:400]


def _text(name: str, array: Array) -> Array:
    """Strings for onnxruntime, which would turn bytes into their repr."""
    texts = np.empty(array.shape, dtype=object)
    try:
        texts.ravel()[:] = [value.decode() for value in array.flat]
    except UnicodeDecodeError as error:
        raise Invalid("BAD_DATA", f"tensor {name!r}: text of an ONNX model must be UTF-8: {error.reason}") from error
    return texts


def _bytes(array: Array) -> Array:
    values = np.empty(array.shape, dtype=object)
    values.ravel()[:] = [value.encode() for value in array.flat]
    return values
