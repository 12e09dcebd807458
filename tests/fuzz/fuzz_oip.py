"""ModelInfer read and written by hand, against protobuf.

A script is a row of bodies, each with its length (2) in front, for one codec: what it remembers of one must not show in
the next. Promised: every body is the same call, or the same error, that protobuf makes of it; and an answer with the
same tensors is written as protobuf writes it.
"""

from inference_host.faces import oip_messages
from inference_host.faces.oip_codec import Codec
from tests.unit.inference_host.oip_bodies import GOOD, LONG_ID, LONG_NAME, STRANGE, aligned, outcome
from tests.unit.inference_host.planes import answer
from waypost.errors import MeshError

SCRIPT_BYTES_MAX = 1 << 10


def play(script: bytes) -> None:
    codec, at = Codec(), 0
    while at < len(script):
        end = at + 2 + int.from_bytes(script[at : at + 2].ljust(2, b"\0"), "big")
        body = script[at + 2 : end]
        expected = outcome(oip_messages.decode, body)
        assert outcome(codec.decode, body) == expected
        assert outcome(codec.decode, aligned(body)) == expected
        _answer(codec, body)
        at = end


def _answer(codec: Codec, body: bytes) -> None:
    """The request's tensors as an answer."""
    try:
        call = codec.decode(body)
    except MeshError:
        return
    given = answer(*call.inputs, model=call.model, version=call.version, id_=call.id)
    assert b"".join(codec.encode(given)) == oip_messages.encode(given)


def seeds() -> dict[str, bytes]:
    good = [b"".join(parts) for parts in GOOD]
    return {
        "long name": _script(LONG_NAME),
        "long id": _script(LONG_ID),
        "nothing": _script(b""),
        **{f"good {number}": _script(body, body) for number, body in enumerate(good)},
        **{f"cut {number}": _script(body, body[:-1], body[: len(body) // 2]) for number, body in enumerate(good)},
        **{f"strange in front {number}": _script(good[0], strange + good[0]) for number, strange in enumerate(STRANGE)},
        **{f"strange behind {number}": _script(good[0], good[0] + strange) for number, strange in enumerate(STRANGE)},
    }


def _script(*bodies: bytes) -> bytes:
    return b"".join(len(body).to_bytes(2, "big") + body for body in bodies)
