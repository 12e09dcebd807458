"""A host as a process: how it starts, fails, drains, and whom it lets in."""

import concurrent.futures
import dataclasses
import http.client
import json
import os
import signal
import socket
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mesh import clock, tokens
from tests import models
from tests.conformance import hosts
from tests.conformance.hosts import END_S, RunningHost
from tests.waiting import wait_until
from waypost.api.inference.v1 import inference_pb2 as oip
from waypost.api.inference.v1 import repository_pb2
from waypost.api.xapp.v1 import inference_pb2 as xapp
from waypost.api.xapp.v1.inference_pb2_grpc import InferenceServiceStub
from waypost.errors import Denied, Invalid, MeshError, Unauthenticated
from waypost.rpc import open_channel

NAME = "projects/uav/applications/path/models/forecast/versions/7"
POSITION = "projects/uav/applications/path/positions/tower-7"
START_CPU_S_MAX = 1.5  # of processor time: a busy machine is not the host's fault


def package(directory: Path) -> Path:
    """A model version as an agent unpacks it."""
    models.affine(directory / "model.onnx")
    artifacts = [{"path": "model.onnx", "digest": "sha256:aa"}]
    models.manifest(directory, name=NAME, framework="onnx", artifacts=artifacts, digest="sha256:ff")
    return directory


def place(tmp_path: Path, key: bytes) -> dict[str, str]:
    """Settings of a host at a position."""
    (tmp_path / "jwks.json").write_text(tokens.jwks(key))
    return {
        "model": str(package(tmp_path / "version")),
        "replica": "r-abc123",
        "position": POSITION,
        "position_uid": "uid-1",
        "serve_as": "tower-7",
        "model_version": NAME,
        "digest": "sha256:ff",
        "jwks": str(tmp_path / "jwks.json"),
    }


def token(key: bytes, audience: str = "uid-1") -> str:
    return tokens.mint(key, audience=audience, subject="agent", client="test", now=clock.now(), lifetime_s=60)


def infer(channel: grpc.Channel, model: str = "tower-7", *, timeout: float = 10.0) -> oip.ModelInferResponse:
    request = oip.ModelInferRequest(model_name=model, raw_input_contents=[np.ones(4, np.float32).tobytes()])
    request.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    return model_infer(channel)(request, timeout=timeout)


def model_infer(channel: grpc.Channel) -> grpc.UnaryUnaryMultiCallable:
    return channel.unary_unary(
        "/inference.GRPCInferenceService/ModelInfer",
        oip.ModelInferRequest.SerializeToString,
        oip.ModelInferResponse.FromString,
    )


def held_request() -> oip.ModelInferRequest:
    """For models.holding: stays in flight until it is let go."""
    request = oip.ModelInferRequest(model_name="holding", raw_input_contents=[np.ones(1, np.float32).tobytes()])
    request.inputs.add(name="x", datatype="FP32", shape=[1])
    return request


def unix_http(host: RunningHost) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("localhost", timeout=10)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(host.address.removeprefix("unix:"))
    return connection


def test_a_host_answers_soon_after_its_start(tmp_path: Path) -> None:
    with hosts.by_hand(models.affine(tmp_path / "m.onnx"), tmp_path / "log") as host:
        with open_channel(host.address) as channel:
            infer(channel, "m")
        fields = Path(f"/proc/{host.process.pid}/stat").read_text().rpartition(")")[2].split()
        assert (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") < START_CPU_S_MAX
    ready = next(line for line in host.log.read_text().splitlines() if '"host_ready"' in line)
    assert json.loads(ready)["since_start_ms"] >= json.loads(ready)["of_which_imports_ms"] > 0


def test_a_position_lets_in_who_has_its_token(tmp_path: Path, front: str) -> None:
    key = tokens.new_signing_key()
    with hosts.at_position(tmp_path, front=front, **place(tmp_path, key)) as host:
        hosts.wait_until_serving(host)
        with open_channel(host.grpc(front), token=token(key)) as channel:
            answer = infer(channel)
            assert (answer.model_name, answer.model_version) == ("forecast", "7")
            assert infer(channel, "forecast").model_version == "7"
        for wrong in (None, token(key, "uid-2"), token(tokens.new_signing_key())):
            with open_channel(host.grpc(front), token=wrong) as channel, pytest.raises(Unauthenticated):
                infer(channel)
        assert host.stop() == 0
    assert not (tmp_path / "failure.json").exists()
    assert not (tmp_path / "host.sock").exists()


def test_the_http_face_asks_for_the_same_token(tmp_path: Path) -> None:
    key = tokens.new_signing_key()
    with hosts.at_position(tmp_path, **place(tmp_path, key)) as host:
        hosts.wait_until_serving(host)
        connection = unix_http(host)
        for headers, status in (({}, 401), ({"Authorization": f"Bearer {token(key)}"}, 200)):
            connection.request("GET", "/v2/models/tower-7", headers=headers)
            response = connection.getresponse()
            content = json.loads(response.read())
            assert response.status == status
            assert response.getheader("www-authenticate") == ("Bearer" if status == 401 else None)
        assert content["name"] == "forecast"
        assert response.getheader("waypost-replica") == "r-abc123"
        connection.close()


def test_xapps_may_not_touch_the_repository(tmp_path: Path, front: str) -> None:
    key = tokens.new_signing_key()
    with hosts.at_position(tmp_path, front=front, **place(tmp_path, key)) as host:
        hosts.wait_until_serving(host)
        with open_channel(host.grpc(front), token=token(key)) as channel:
            load = channel.unary_unary(
                "/inference.GRPCInferenceService/RepositoryModelLoad",
                repository_pb2.RepositoryModelLoadRequest.SerializeToString,
                repository_pb2.RepositoryModelLoadResponse.FromString,
            )
            with pytest.raises(Denied):
                load(repository_pb2.RepositoryModelLoadRequest(model_name="forecast"))


def test_plain_values_are_enough_for_an_xapp(tmp_path: Path, front: str) -> None:
    key = tokens.new_signing_key()
    with hosts.at_position(tmp_path, front=front, **place(tmp_path, key)) as host:
        hosts.wait_until_serving(host, "waypost.api.xapp.v1.InferenceService")
        with open_channel(host.grpc(front), token=token(key)) as channel:
            stub = InferenceServiceStub(channel)
            values = xapp.Tensor(numbers=[1, 2, 3, 4])
            for position in ("", "uid-1", POSITION, "uav/path/tower-7"):
                answer = stub.Infer(xapp.InferRequest(position=position, id="7", inputs=[values]))
                assert list(answer.outputs[0].numbers) == [3, 5, 7, 9]
                assert list(answer.outputs[0].shape) == [1, 4]
                assert (answer.id, answer.model_version, answer.digest) == ("7", NAME, "sha256:ff")
            for wrong in (
                xapp.InferRequest(position="uid-2", inputs=[values]),
                xapp.InferRequest(inputs=[xapp.Tensor(numbers=[1, 2, 3])]),
                xapp.InferRequest(inputs=[xapp.Tensor(name="z", numbers=[1, 2, 3, 4])]),
                xapp.InferRequest(inputs=[xapp.Tensor(strings=["1", "2", "3", "4"])]),
                xapp.InferRequest(id="i" * 65, inputs=[values]),
                xapp.InferRequest(),
            ):
                with pytest.raises(Invalid):
                    stub.Infer(wrong)


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda directory: models.corrupt(directory / "model.onnx"), "CORRUPT_MODEL"),
        (lambda directory: models.foreign(directory / "model.onnx"), "UNSUPPORTED_OPERATOR"),
        (lambda directory: (directory / "model.onnx").unlink(), "MISSING_FILE"),
        (lambda directory: (directory / "manifest.json").write_text("{"), "BAD_MANIFEST"),
    ],
)
def test_a_model_that_cannot_be_loaded_leaves_a_note_for_the_agent(
    tmp_path: Path, break_it: object, reason: str
) -> None:
    settings = place(tmp_path, tokens.new_signing_key())
    break_it(tmp_path / "version")  # type: ignore[operator]
    with hosts.at_position(tmp_path, **settings) as host:
        assert host.process.wait(hosts.START_S) == 3
    note = json.loads((tmp_path / "failure.json").read_text())
    assert note["reason"] == reason
    assert note["message"]
    assert note["hint"]
    assert json.loads(host.log.read_text().splitlines()[-1])["reason"] == reason


def test_a_model_with_another_digest_is_not_served(tmp_path: Path) -> None:
    settings = {**place(tmp_path, tokens.new_signing_key()), "digest": "sha256:00"}
    with hosts.at_position(tmp_path, **settings) as host:
        assert host.process.wait(hosts.START_S) == 3
    assert json.loads((tmp_path / "failure.json").read_text())["reason"] == "DIGEST_MISMATCH"


def test_a_start_that_goes_well_removes_an_old_note(tmp_path: Path) -> None:
    (tmp_path / "failure.json").write_text("{}")
    with hosts.at_position(tmp_path, **place(tmp_path, tokens.new_signing_key())) as host:
        hosts.wait_until_serving(host)
        assert not (tmp_path / "failure.json").exists()


def test_a_taken_port_names_its_holder(tmp_path: Path, repository: RunningHost) -> None:
    model = models.affine(tmp_path / "m.onnx")
    for setting in ("listen", "grpcio_listen"):
        with hosts.at_position(tmp_path, model=str(model), **{setting: repository.address}) as host:
            assert host.process.wait(hosts.START_S) == 1
        assert f"pid {repository.process.pid}" in host.log.read_text()
        assert json.loads((tmp_path / "failure.json").read_text())["reason"] == "ADDRESS_IN_USE"


def test_a_socket_of_a_living_host_is_not_taken_from_it(tmp_path: Path) -> None:
    model, other = models.affine(tmp_path / "m.onnx"), tmp_path / "other"
    other.mkdir()
    with hosts.at_position(tmp_path, model=str(model)) as first:
        hosts.wait_until_serving(first)
        with hosts.at_position(other, model=str(model), listen=first.address) as second:
            assert second.process.wait(hosts.START_S) == 1
        assert json.loads((other / "failure.json").read_text())["reason"] == "ADDRESS_IN_USE"
        first.process.kill()
        first.process.wait()
        with hosts.at_position(other, model=str(model), listen=first.address) as third:
            hosts.wait_until_serving(dataclasses.replace(third, address=first.address))


def test_a_host_listens_at_several_addresses(tmp_path: Path) -> None:
    model = models.affine(tmp_path / "m.onnx")
    addresses = [f"unix:{tmp_path}/a.sock", f"unix:{tmp_path}/b.sock"]
    with hosts.at_position(tmp_path, model=str(model), listen=", ".join(addresses)) as host:
        for address in addresses:
            hosts.wait_until_serving(dataclasses.replace(host, address=address))


def test_other_machines_are_let_in_only_where_somebody_said_so(tmp_path: Path) -> None:
    model = models.affine(tmp_path / "m.onnx")
    with hosts.at_position(tmp_path, model=str(model), listen="0.0.0.0:0") as host:
        assert host.process.wait(hosts.START_S) == 1
    assert "--insecure-no-auth" in host.log.read_text()


def test_a_repository_serves_what_it_can(tmp_path: Path) -> None:
    models.affine(tmp_path / "good.onnx")
    models.corrupt(tmp_path / "bad.onnx")
    with hosts.by_hand(tmp_path, tmp_path / "log") as host:
        connection = http.client.HTTPConnection(host.address, timeout=10)
        connection.request("POST", "/v2/repository/index")
        states = {entry["name"]: entry for entry in json.loads(connection.getresponse().read())}
        assert (states["good"]["state"], states["bad"]["state"]) == ("READY", "UNAVAILABLE")
        assert "bad.onnx" in states["bad"]["reason"]
        connection.request("GET", "/v2/health/ready")
        response = connection.getresponse()
        assert (response.status, response.read()) == (503, b'{"ready":false}')
        connection.close()
        with open_channel(host.address) as channel:
            assert infer(channel, "good").model_name == "good"


def test_calls_in_flight_end_well_and_new_ones_are_told_to_go_elsewhere(tmp_path: Path, front: str) -> None:
    model = models.holding(tmp_path / "model")
    pool = concurrent.futures.ThreadPoolExecutor()
    with (
        hosts.by_hand(model, tmp_path / "log", "--threads", "2", front=front) as host,
        grpc.insecure_channel(host.grpc(front)) as channel,
        pool,
    ):
        infer = model_infer(channel)
        in_flight = infer.future(held_request(), timeout=30)
        over_http = pool.submit(held_over_http, host)
        wait_until_held(model, 2)
        host.process.send_signal(signal.SIGTERM)
        wait_until_draining(host)
        with pytest.raises(grpc.RpcError) as refused:
            infer(held_request(), timeout=5)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        (model / "go").touch()
        assert in_flight.result().model_name == "holding"
        assert over_http.result() == (200, "close")
        assert host.process.wait(END_S) == 0


def held_over_http(host: RunningHost) -> tuple[int, str | None]:
    connection = http.client.HTTPConnection(host.address, timeout=30)
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}
    connection.request("POST", "/v2/models/holding/infer", json.dumps(body))
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status, response.getheader("connection")


def wait_until_held(model: Path, calls: int) -> None:
    wait_until(lambda: list(model.glob("held-*")), lambda held: len(held) >= calls)


def wait_until_draining(host: RunningHost) -> None:
    wait_until(lambda: '"draining"' in host.log.read_text(), more=host.log.read_text)


def test_streams_and_watchers_do_not_hold_a_stop_up(tmp_path: Path, front: str) -> None:
    models.affine(tmp_path / "m.onnx")
    with (
        hosts.by_hand(tmp_path / "m.onnx", tmp_path / "log", front=front) as host,
        grpc.insecure_channel(host.grpc(front)) as channel,
    ):
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        never_ending = iter(lambda: time.sleep(60), 0)
        stream = channel.stream_stream(
            "/inference.GRPCInferenceService/ModelStreamInfer",
            oip.ModelInferRequest.SerializeToString,
            oip.ModelStreamInferResponse.FromString,
        )(never_ending)
        idle = http.client.HTTPConnection(host.address, timeout=10)
        idle.request("GET", "/v2/health/live")
        idle.getresponse().read()
        began = time.monotonic()
        host.process.send_signal(signal.SIGTERM)
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(grpc.RpcError) as ended:
            next(stream)
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        assert host.process.wait(END_S) == 0
        assert time.monotonic() - began < 5
        idle.close()


def test_a_model_that_runs_beyond_the_grace_is_left_behind(tmp_path: Path, front: str) -> None:
    model = models.holding(tmp_path / "model")
    with (
        hosts.by_hand(model, tmp_path / "log", "--grace-s", "0.1", front=front) as host,
        grpc.insecure_channel(host.grpc(front)) as channel,
    ):
        in_flight = model_infer(channel).future(held_request(), timeout=30)
        wait_until_held(model, 1)
        assert host.stop() == 0
        assert isinstance(in_flight.exception(), grpc.RpcError)


def test_a_wrong_setting_is_told(tmp_path: Path) -> None:
    with hosts.at_position(tmp_path, model="/nowhere.onnx", threads=-1) as host:
        assert host.process.wait(hosts.START_S) == 1
    assert "--threads" in host.log.read_text()
    assert json.loads((tmp_path / "failure.json").read_text())["reason"] == "BAD_SETTING"


def test_errors_carry_their_reason_and_hint(grpc_address: str) -> None:
    with open_channel(grpc_address) as channel, pytest.raises(MeshError) as refused:
        infer(channel, "nowhere")
    assert refused.value.reason == "UNKNOWN_MODEL"
    assert "affine" in refused.value.hint
