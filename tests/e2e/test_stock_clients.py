"""Unmodified clients at the gateway: two positions, before and after one is given a different model."""

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http

from tests.e2e.platform import Platform


class Access(dict[str, dict[str, str]]):
    """Headers that each position asks for. Copies: tritonclient writes into what it is given."""

    def __getitem__(self, name: str) -> dict[str, str]:
        return dict(super().__getitem__(name))


@pytest.fixture(scope="module")
def positions(platform: Platform) -> dict[str, Any]:
    """east doubles, west triples; west has a port of its own."""
    return {
        "east": platform.deploy("lab/affine/1", "lab/east"),
        "west": platform.deploy("lab/affine/2", "lab/west", "--dedicated-port"),
    }


@pytest.fixture(scope="module")
def access(platform: Platform, positions: dict[str, Any]) -> Access:
    token = platform.token("lab")
    return Access({name: headers(platform, f"demo/lab/{name}", token) for name in positions})


def headers(platform: Platform, position: str, token: str) -> dict[str, str]:
    body = json.dumps({"application_token": token}).encode()
    to_position = {"waypost-position": position}
    request = urllib.request.Request(f"{platform.gateway}/v1/register", body, to_position)
    with urllib.request.urlopen(request, timeout=10) as response:
        return {**to_position, "authorization": f"Bearer {json.load(response)['access_token']}"}


@pytest.fixture
def over_grpc(platform: Platform) -> Iterator[Any]:
    with triton_grpc.InferenceServerClient(platform.gateway.removeprefix("http://")) as client:
        yield client


@pytest.fixture
def over_http(platform: Platform) -> Iterator[Any]:
    with triton_http.InferenceServerClient(platform.gateway.removeprefix("http://")) as client:
        yield client


X = np.arange(4, dtype=np.float32).reshape(1, 4)
SCALES = {"east": 2.0, "west": 3.0}


@pytest.mark.parametrize("name", ["east", "west"])
def test_grpc_health_metadata_and_inference(over_grpc: Any, access: Access, name: str) -> None:
    to = {"headers": access[name]}
    assert over_grpc.is_server_live(**to)
    assert over_grpc.is_server_ready(**to)
    assert over_grpc.is_model_ready(name, **to)
    assert over_grpc.get_model_metadata(name, **to).inputs[0].name == "x"
    answer = over_grpc.infer(name, [grpc_input(X)], **to)
    np.testing.assert_array_equal(answer.as_numpy("y"), X * SCALES[name] + 1)


@pytest.mark.parametrize("name", ["east", "west"])
@pytest.mark.parametrize("binary", [True, False])
def test_http_health_metadata_and_inference(over_http: Any, access: Access, name: str, binary: bool) -> None:
    to = {"headers": access[name]}
    assert over_http.is_server_live(**to)
    assert over_http.is_server_ready(**to)
    assert over_http.is_model_ready(name, **to)
    assert over_http.get_model_metadata(name, **to)["outputs"][0]["name"] == "y"
    answer = over_http.infer(name, [http_input(X, binary)], **to)
    np.testing.assert_array_equal(answer.as_numpy("y"), X * SCALES[name] + 1)


def test_http_below_the_positions_prefix(platform: Platform, positions: dict[str, Any], access: Access) -> None:
    base = f"{platform.gateway.removeprefix('http://')}{positions['west']['status']['endpoint']['path_prefix']}"
    only_token = {"authorization": access["west"]["authorization"]}
    with triton_http.InferenceServerClient(base) as client:
        answer = client.infer("west", [http_input(X, binary=True)], headers=only_token)
    np.testing.assert_array_equal(answer.as_numpy("y"), X * 3 + 1)


def test_grpc_at_the_positions_own_port(positions: dict[str, Any], access: Access) -> None:
    only_token = {"authorization": access["west"]["authorization"]}
    with triton_grpc.InferenceServerClient(f"127.0.0.1:{positions['west']['status']['endpoint']['port']}") as client:
        answer = client.infer("west", [grpc_input(X)], headers=only_token)
    np.testing.assert_array_equal(answer.as_numpy("y"), X * 3 + 1)


def test_grpc_by_authority(platform: Platform, positions: dict[str, Any], access: Access) -> None:
    channel = [("grpc.default_authority", positions["west"]["status"]["endpoint"]["authority"])]
    only_token = {"authorization": access["west"]["authorization"]}
    address = platform.gateway.removeprefix("http://")
    with triton_grpc.InferenceServerClient(address, channel_args=channel) as client:
        answer = client.infer("west", [grpc_input(X)], headers=only_token)
    np.testing.assert_array_equal(answer.as_numpy("y"), X * 3 + 1)


def test_without_a_credential_nothing_answers(over_grpc: Any, over_http: Any, access: Access) -> None:
    nameless = {"waypost-position": access["east"]["waypost-position"]}
    with pytest.raises(triton_grpc.InferenceServerException, match="UNAUTHENTICATED"):
        over_grpc.infer("east", [grpc_input(X)], headers=nameless)
    with pytest.raises(triton_http.InferenceServerException, match="401"):
        over_http.infer("east", [http_input(X, binary=True)], headers=nameless)


def test_one_positions_token_is_no_good_at_another(over_grpc: Any, access: Access) -> None:
    mixed = {**access["east"], "waypost-position": access["west"]["waypost-position"]}
    with pytest.raises(triton_grpc.InferenceServerException, match="UNAUTHENTICATED"):
        over_grpc.infer("west", [grpc_input(X)], headers=mixed)


def test_xapps_may_not_unload_models(over_grpc: Any, access: Access) -> None:
    with pytest.raises(triton_grpc.InferenceServerException, match="PERMISSION_DENIED"):
        over_grpc.unload_model("east", headers=access["east"])


def test_the_same_clients_after_the_position_is_given_a_different_model(
    platform: Platform, over_grpc: Any, over_http: Any, access: Access
) -> None:
    platform.deploy("lab/mixed/1", "lab/east")
    a, b, flag = np.array([[1, 2, 3]], np.int64), np.array([0.5, 0.5, 0.5]), np.array([True])
    for client, kind in ((over_grpc, triton_grpc), (over_http, triton_http)):
        inputs = [tensor(kind, name, value) for name, value in (("a", a), ("b", b), ("flag", flag))]
        answer = client.infer("east", inputs, headers=access["east"])
        np.testing.assert_array_equal(answer.as_numpy("sum"), a + b)
        assert answer.as_numpy("negated").tolist() == [False]
        west = client.infer("west", [tensor(kind, "x", X)], headers=access["west"])
        np.testing.assert_array_equal(west.as_numpy("y"), X * 3 + 1)
    platform.deploy("lab/affine/1", "lab/east")


def grpc_input(value: Any) -> Any:
    return tensor(triton_grpc, "x", value)


def http_input(value: Any, binary: bool) -> Any:
    made = triton_http.InferInput("x", list(value.shape), "FP32")
    made.set_data_from_numpy(value, binary_data=binary)
    return made


def tensor(kind: Any, name: str, value: Any) -> Any:
    datatype = {"float32": "FP32", "float64": "FP64", "int64": "INT64", "bool": "BOOL"}[value.dtype.name]
    made = kind.InferInput(name, list(value.shape), datatype)
    made.set_data_from_numpy(value)
    return made
