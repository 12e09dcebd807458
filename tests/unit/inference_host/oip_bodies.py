"""Bodies of ModelInfer that a reader by hand could get wrong, and what a reader made of one."""

from collections.abc import Callable, Iterator

from inference_host.transport.message_buffer import MessageBuffer
from inference_host.values.calls import Call
from inference_host.values.tensors import Buffer
from waypost.api.inference.v1 import inference_pb2 as oip
from waypost.errors import MeshError


def field(**value: object) -> bytes:
    """A field of a request, or some."""
    return oip.ModelInferRequest(**value).SerializeToString()


def tensor(datatype: str, shape: list[int], **more: object) -> bytes:
    return field(inputs=[oip.InferInputTensor(name="x", datatype=datatype, shape=shape, **more)])


SAYS = {"shared_memory_region": oip.InferParameter(string_param="r")}
OUTPUT = field(outputs=[oip.InferRequestedOutputTensor(name="y")])
STRANGE = [
    field(parameters={"timeout": oip.InferParameter(int64_param=5)}),
    tensor("FP32", [1], parameters=SAYS),
    tensor("FP32", [1], contents=oip.InferTensorContents(fp32_contents=[1])),
    tensor("FP32", [1], contents=oip.InferTensorContents()),
    field(outputs=[oip.InferRequestedOutputTensor(name="y", parameters={"classification": oip.InferParameter()})]),
    b"\x0a\x00",  # an empty name, written all the same
    b"\x1a\x00",  # an empty id
    b"\x1a\x01\xff",  # an id that is no UTF-8
    b"\x1a\x03\xed\xa0\x80",  # nor is a surrogate
    b"\x1a\x80\x01" + b"i" * 128,
    b"\x78\x01",  # an unknown field
    b"\x7a\x04abcd",
    b"\x3a\x84\x00abcd",  # lengths that could have been shorter
    b"\x3a\x84\x80\x80\x00abcd",
    b"\x3a\x84\x80\x80\x80\x00abcd",
    b"\x3a\xff\xff\xff\xff\x0f",  # and one beyond any end
    b"\x2a\x00",
    b"\x32\x00",
    b"\x32",
]


LONG_NAME = b"".join(
    [
        b"\x0a\x80\x01" + b"a" * 127 + b"\x1a",  # who takes the length for one byte sees an id begin at the end
        b"\x1a\x19" + b"i" * 25,  # and it ends where the real one does
        b"\x2a\x12\x11aaaaaaaa\x0a\x07xxxxxxx",  # an input; or the last byte of the name, and a version
        tensor("FP32", [1]),
        b"\x3a\x04abcd",
    ]
)
LONG_ID = b"".join(
    [
        field(model_name="m"),
        b"\x1a\x80\x01" + b"i" * 127 + b"*",  # who takes the length for one byte sees an input begin at the end
        b"\x2a\x12\x0a\x10iiiiiiiiiB\x06iiiii",  # of 42 bytes: this input
        b"\x32\x15\x0a\x13ii\x12\x04FP32\x1a\x01\x01\x0a\x06iiiiii",  # and this output
        b"\x3a\x04abcd",
    ]
)
"""Two requests that are wrong, and good ones where they are cut in the wrong places."""

GOOD = [
    [field(model_name="m"), field(id="7"), tensor("FP32", [1]), field(raw_input_contents=[b"abcd"])],
    [field(model_name="m"), tensor("BOOL", [2, 2]), OUTPUT, field(raw_input_contents=[b"\x00\x01\x07\x00"])],
    [
        field(model_name="m"),
        field(model_version="1"),
        field(id="7"),
        tensor("BYTES", [1]),
        tensor("FP32", [1]),
        field(raw_input_contents=[b"\x01\x00\x00\x00a"]),
        field(raw_input_contents=[b"abcd"]),
    ],
]


def variations(parts: list[bytes]) -> Iterator[bytes]:
    """A request with one thing changed, in every way that could matter."""
    body = b"".join(parts)
    yield body
    for at in range(len(parts) + 1):
        before, after = parts[:at], parts[at:]
        for strange in STRANGE:
            yield b"".join([*before, strange, *after])
            yield b"".join([*before, strange, *after[1:]])
        yield b"".join([*before, *after[1:]])
        yield b"".join([*before, *after[:1], *after])
        yield b"".join([*before, *reversed(after)])
    for at in range(len(body)):
        yield body[:at]
        for byte in (0x00, 0x01, 0x0A, 0x1A, 0x2A, 0x32, 0x3A, 0x7F, 0x80, 0xFF):
            yield body[:at] + bytes([byte]) + body[at + 1 :]


def outcome(decode: Callable[[Buffer], Call], body: Buffer) -> object:
    """What a call says, or why it is refused, in a form that can be compared."""
    try:
        call = decode(body)
    except MeshError as error:
        return type(error), error.reason, error.message, error.hint
    tensors = [
        (
            t.name,
            t.datatype,
            t.shape,
            t.array.dtype,
            t.array.ravel().tolist() if t.datatype == "BYTES" else t.array.tobytes(),
        )
        for t in call.inputs
    ]
    assert all(t.array.flags.aligned for t in call.inputs)
    return call.model, call.version, call.id, tuple(call.outputs), call.parameters, tensors


def aligned(body: bytes) -> memoryview:
    """As a server gives a large message."""
    assembly = MessageBuffer(len(body))
    assembly.add(body)
    return assembly.message()
