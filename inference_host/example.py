"""One line to try a host with: curl with a request that the model has just answered."""

import shlex
from collections.abc import Sequence

import orjson

from inference_host.loader import Warm
from inference_host.oip_json import BINARY_ONLY
from inference_host.served import Served
from inference_host.tensors import Tensor, to_values

VALUES_MAX = 64  # more do not fit a terminal


def curl(http_address: str, served: Sequence[Served]) -> str:
    """An inference where a sample of the first model is short enough and has a JSON form, else its metadata."""
    base, options = _base(http_address)
    warm = next((each.warm for each in served if each.warm is not None), None)
    if warm is None:
        return f"curl -s {options}{base}/v2/repository/index -X POST"
    url = f"{base}/v2/models/{warm.loaded.package.model}"
    body = _body(warm)
    return f"curl -s {options}{url}" if body is None else f"curl -s {options}{url}/infer -d {shlex.quote(body)}"


def _base(http_address: str) -> tuple[str, str]:
    if http_address.startswith("unix:"):
        return "http://localhost", f"--unix-socket {shlex.quote(http_address.removeprefix('unix:'))} "
    return f"http://{http_address}", ""


def _body(warm: Warm) -> str | None:
    sample, specs = warm.samples[0], warm.loaded.signature.inputs
    if any(spec.datatype in BINARY_ONLY for spec in specs) or sum(array.size for array in sample.values()) > VALUES_MAX:
        return None
    inputs = [
        {
            "name": spec.name,
            "datatype": spec.datatype,
            "shape": sample[spec.name].shape,
            "data": [_plain(value) for value in to_values(Tensor(spec.name, spec.datatype, sample[spec.name]))],
        }
        for spec in specs
    ]
    return orjson.dumps({"inputs": inputs}).decode()


def _plain(value: object) -> object:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
