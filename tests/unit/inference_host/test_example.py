"""What a host greets with: calls that its model has just answered."""

import ast
import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from inference_host.example import VALUES_MAX, curl, sdk
from inference_host.model.loaded import Loaded
from inference_host.model.manifest import Package
from inference_host.model.template import Arrays, Steps
from inference_host.serving.loader import Warm
from inference_host.serving.served import Served
from inference_host.values.signature import Signature, TensorSpec
from inference_host.values.tensors import DTYPES


def served(sample: Arrays, datatypes: dict[str, str], name: str = "forecast") -> Served:
    signature = Signature(tuple(TensorSpec(key, datatypes[key], array.shape) for key, array in sample.items()), ())
    package = Package(Path("/nowhere"), name, "1", f"{name}/1", "sha256:ff", None, "template:Fake")
    steps = Steps(lambda value: value, lambda value: value, lambda value: value)
    return Served(package, warm=Warm(Loaded(package, signature, steps), 0.0, [sample], 0))


def array(datatype: str, *values: object) -> np.ndarray:
    found = np.empty(len(values), DTYPES[datatype])
    found[:] = values
    return found


@pytest.mark.parametrize(
    ("datatype", "values"),
    [("FP32", [0.1, -2.5]), ("INT64", [1, -2]), ("BOOL", [True, False]), ("BYTES", [b"a'b", b"c"])],
)
def test_curl_and_python_send_the_sample(datatype: str, values: list[object]) -> None:
    model = served({"x": array(datatype, *values)}, {"x": datatype})
    body = json.loads(shlex.split(curl("127.0.0.1:8000", [model]))[-1])
    expected = [value.decode() if isinstance(value, bytes) else value for value in values]
    assert body["inputs"] == [{"name": "x", "datatype": datatype, "shape": [2], "data": expected}]
    imported, connect, call = sdk("127.0.0.1:8000", [model])
    assert imported == "import waypost"
    assert '"http://127.0.0.1:8000", position="local/host/forecast"' in connect
    assert ast.literal_eval(call.strip().removeprefix("print(position.infer(").removesuffix("))")) == values


def test_several_inputs_are_given_by_name() -> None:
    model = served({"x": array("FP32", 1.5), "n": array("INT64", 2)}, {"x": "FP32", "n": "INT64"})
    call = sdk("unix:/tmp/s", [model])[-1]
    assert ast.literal_eval(call.strip().removeprefix("print(position.infer(").removesuffix("))")) == {
        "x": [1.5],
        "n": [2],
    }
    assert "--unix-socket /tmp/s http://localhost/v2" in curl("unix:/tmp/s", [model])


def test_with_tls_both_speak_it_and_trust_the_roots_that_lie_beside_the_certificate(tmp_path: Path) -> None:
    model = served({"x": array("FP32", 1.5)}, {"x": "FP32"})
    assert curl("127.0.0.1:1", [model], tmp_path).startswith("curl -s https://127.0.0.1:1/")
    (tmp_path / "roots.pem").touch()
    assert curl("127.0.0.1:1", [model], tmp_path).startswith(f"curl -s --cacert {tmp_path}/roots.pem https://")
    _, trusted, connect, _ = sdk("127.0.0.1:1", [model], tmp_path)
    assert f'open("{tmp_path}/roots.pem", "rb")' in trusted
    assert '"https://127.0.0.1:1"' in connect
    assert connect.endswith(", tls=tls) as position:")
    assert sdk("unix:/tmp/s", [model], tmp_path) == sdk("unix:/tmp/s", [model]), "plaintext there"


@pytest.mark.parametrize(
    "model",
    [
        served({"x": np.zeros(VALUES_MAX + 1, np.float32)}, {"x": "FP32"}),
        served({"x": np.zeros(1, np.float16)}, {"x": "FP16"}),
    ],
)
def test_what_does_not_fit_a_terminal_or_json_is_asked_about(model: Served) -> None:
    assert curl("127.0.0.1:1", [model]) == "curl -s http://127.0.0.1:1/v2/models/forecast"
    assert sdk("127.0.0.1:1", [model])[-1] == "    print(position.signature())"


def test_a_model_that_cannot_name_a_position_has_a_position_all_the_same() -> None:
    model = served({"x": array("FP32", 1.0)}, {"x": "FP32"}, name="My_Model")
    assert 'position="local/host/model"' in sdk("127.0.0.1:1", [model])[1]


def test_without_a_model_that_serves_there_is_an_index() -> None:
    assert curl("127.0.0.1:1", []).endswith("/v2/repository/index -X POST")
    assert sdk("127.0.0.1:1", []) == []
