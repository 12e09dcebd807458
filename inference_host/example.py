"""How to try a host: a request that its model has just answered, for curl and for the SDK."""

import shlex
from collections.abc import Sequence
from pathlib import Path

import orjson

from inference_host.faces.access_by_hand import TOKEN
from inference_host.serving.loader import Warm
from inference_host.serving.served import Served
from inference_host.values.oip_json import BINARY_ONLY
from inference_host.values.signature import TensorSpec
from inference_host.values.tensors import Array
from mesh.identity import ROOTS
from waypost import names
from waypost.errors import Invalid

VALUES_MAX = 64  # more do not fit a terminal
PLACE = "local/host"  # a position's name has a project and an application in front; a host by hand has neither


def curl(address: str, served: Sequence[Served], tls: Path | None = None) -> str:
    """An inference where a sample of the first model is short enough and has a JSON form, else its metadata.

    tls: the directory with the certificate, where TLS is spoken at host:port.
    """
    base, options = _base(address, tls)
    warm = _first(served)
    if warm is None:
        return f"curl -s {options}{base}/v2/repository/index -X POST"
    url = f"{base}/v2/models/{warm.loaded.package.model}"
    if not _is_short(warm):
        return f"curl -s {options}{url}"
    inputs = [
        {"name": spec.name, "datatype": spec.datatype, "shape": array.shape, "data": _plain(array.ravel())}
        for spec, array in _sample(warm)
    ]
    body = orjson.dumps({"inputs": inputs}, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    return f"curl -s {options}{url}/infer -d {shlex.quote(body)}"


def sdk(address: str, served: Sequence[Served], tls: Path | None = None) -> list[str]:
    """The same in Python, line by line; what the model takes where a sample is too long. Nothing without a model."""
    warm = _first(served)
    if warm is None:
        return []
    roots = _roots(address, tls)
    target = address if address.startswith("unix:") else f"{_scheme(tls)}://{address}"
    trust = ", tls=tls" if roots else ""
    call = f"infer({_literal(warm)})" if _is_short(warm) else "signature()"
    return [
        "import waypost",
        *([f'tls = waypost.Tls(roots=open("{roots}", "rb").read())'] if roots else []),
        f'with waypost.connect("{target}", position="{PLACE}/{_position(warm)}", token="{TOKEN}"{trust}) as position:',
        f"    print(position.{call})",
    ]


def _first(served: Sequence[Served]) -> Warm | None:
    return next((each.warm for each in served if each.warm is not None), None)


def _base(address: str, tls: Path | None) -> tuple[str, str]:
    """What a URL begins with, and curl's options for it."""
    if address.startswith("unix:"):
        return "http://localhost", f"--unix-socket {shlex.quote(address.removeprefix('unix:'))} "
    roots = _roots(address, tls)
    return f"{_scheme(tls)}://{address}", f"--cacert {shlex.quote(str(roots))} " if roots else ""


def _scheme(tls: Path | None) -> str:
    return "http" if tls is None else "https"


def _roots(address: str, tls: Path | None) -> Path | None:
    """What to trust, where the system's roots will not do."""
    if tls is None or address.startswith("unix:") or not (tls / ROOTS).exists():
        return None
    return tls / ROOTS


def _position(warm: Warm) -> str:
    """The last part of the position's name, which says which model is meant where there are several."""
    model = warm.loaded.package.model
    try:
        names.check_id(model, "positions")
    except Invalid:
        return "model"
    return model


def _is_short(warm: Warm) -> bool:
    sample = _sample(warm)
    return sum(array.size for _, array in sample) <= VALUES_MAX and not any(
        spec.datatype in BINARY_ONLY for spec, _ in sample
    )


def _sample(warm: Warm) -> list[tuple[TensorSpec, Array]]:
    return [(spec, warm.samples[0][spec.name]) for spec in warm.loaded.signature.inputs]


def _literal(warm: Warm) -> str:
    """Python: the value of the only input, or all of them by name."""
    values = {spec.name: _python(array) for spec, array in _sample(warm)}
    if len(values) == 1:
        return next(iter(values.values()))
    return "{" + ", ".join(f'"{name}": {value}' for name, value in values.items()) + "}"


def _python(array: Array) -> str:
    """A nested list. Floats in the fewest digits that read back as the same, which orjson knows and repr does not."""
    if array.dtype.kind == "f":
        written = orjson.dumps(_plain(array), option=orjson.OPT_SERIALIZE_NUMPY).decode()
        return written.replace("null", 'float("nan")').replace(",", ", ")
    return repr(array.tolist())


def _plain(array: Array) -> object:
    """As orjson writes it."""
    if array.dtype == object:
        return [value.decode(errors="replace") for value in array.flat]
    return array.copy()  # in one piece, and in rows
