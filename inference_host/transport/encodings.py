"""gzip and deflate of bodies and messages, both ways. What takes long belongs on a thread: zlib lets others run."""

import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

from waypost.errors import Invalid, Unsupported

Body = TypeVar("Body", bound=bytes | memoryview)

COMPRESS_BYTES_MIN = 1024  # below it an answer fits into one packet as it is
COMPRESS_INLINE_BYTES_MAX = 64 << 10  # which takes a millisecond; more on a thread
DECOMPRESS_INLINE_BYTES_MAX = 4 << 10  # of a compressed body: at most 4 MB come out of it, in as many milliseconds
LEVEL = 1  # tensors hardly compress better at a higher one, and take several times longer
_WINDOWS = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}


def decompressed(body: Body, coding: str, bytes_max: int) -> Body | bytes:
    """A body as it was before Content-Encoding `coding`; never more than `bytes_max` bytes are made of it.

    Raises: Invalid(BAD_ENCODING | BODY_TOO_LARGE), Unsupported(UNKNOWN_ENCODING).
    """
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return body
    if coding not in _WINDOWS:
        raise Unsupported("UNKNOWN_ENCODING", f"content encoding {coding!r} is not known", "use gzip, deflate or none")
    inflater = zlib.decompressobj(_WINDOWS[coding])
    try:
        content = inflater.decompress(body, bytes_max + 1)
    except zlib.error as error:
        raise Invalid("BAD_ENCODING", f"the body is not {coding}: {error}") from error
    if len(content) > bytes_max:
        raise Invalid("BODY_TOO_LARGE", f"the body is larger than {bytes_max} bytes when decompressed")
    if not inflater.eof or inflater.unused_data:
        raise Invalid("BAD_ENCODING", f"the body is not one whole {coding} stream")
    return content


@lru_cache(maxsize=64)  # clients have a handful of ways to say it
def chosen(accept_encoding: str) -> str:
    """The coding for an answer: gzip, deflate or none (empty), as Accept-Encoding prefers. Ties go to gzip."""
    best, weight = "", 0.0
    for offer in accept_encoding.lower().split(","):
        coding, _, parameters = offer.partition(";")
        name = {"*": "gzip", "x-gzip": "gzip"}.get(coding.strip(), coding.strip())
        q = _weight(parameters)
        if name in _WINDOWS and (q > weight or (q == weight > 0 and name == "gzip")):
            best, weight = name, q
    return best


def compressed(parts: Sequence[bytes | memoryview], coding: str) -> bytes:
    """One body out of its parts."""
    deflater = zlib.compressobj(LEVEL, wbits=_WINDOWS[coding])
    packed = [deflater.compress(part) for part in parts]
    packed.append(deflater.flush())
    return b"".join(packed)


def _weight(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return min(1.0, max(0.0, float(value)))
    except ValueError:
        return 0.0
