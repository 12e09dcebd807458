"""The demo's model and xApp: trained on real data, called over gRPC and over HTTP."""

import http.server
import json
import threading
from pathlib import Path

import numpy as np
import pytest

from waypost import TensorSpec
from waypost.testing import FakeModel, FakePosition

EXAMPLE = Path(__file__).parents[2] / "examples/demand_forecast"
DEADLINE_S = 10.0


@pytest.fixture
def example(monkeypatch):
    """Its modules, imported as its scripts import one another."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    import series
    import train
    import xapp

    return series, train, xapp


@pytest.fixture
def held_out(example):
    series, _, _ = example
    measured = series.load()
    return series.split(series.windows(measured), len(measured))[1].take(slice(20))


def predictor(model):
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString())
    return lambda inputs: {"forecast": session.run(None, {"history": inputs["history"]})[0]}


def test_nothing_of_the_held_out_answers_was_seen_in_training(example):
    series, _, _ = example
    measured = series.load()
    training, held_out = series.split(series.windows(measured), len(measured))
    assert training.hour.max() + series.STEPS_H <= held_out.hour.min()
    assert len(training) > 600
    assert len(held_out) > 150
    assert np.isnan(measured).sum() == 111
    for data in (training, held_out):
        assert not np.isnan(data.history).any()
        assert not np.isnan(data.future).any()


def test_gaps_are_bridged_with_the_past_only_and_only_short_ones(example):
    series, _, _ = example
    nan = np.nan
    gapped = np.array([1, nan, nan, nan, 2, nan, nan, nan, nan, 3], np.float32)
    np.testing.assert_array_equal(series.bridged(gapped), [1, 1, 1, 1, 2, 2, 2, 2, nan, 3])


@pytest.mark.parametrize("variant", ["linear", "mlp"])
def test_each_variant_beats_persistence_and_is_the_same_each_time(example, variant):
    _, train, _ = example
    model, metrics = train.train(variant)
    assert metrics["skill"] > 0.3
    assert metrics["mae"] < metrics["persistence_mae"]
    assert train.train(variant)[0].SerializeToString() == model.SerializeToString()


def test_what_is_published_says_how_good_it_is(example, tmp_path):
    _, train, _ = example
    model, metrics = train.train("linear")
    train.publish(model, metrics, tmp_path, "water/demand/1", "linear")
    manifest = json.loads((tmp_path / "water/demand/1/manifest.json").read_text())
    assert manifest["metrics"] == pytest.approx(metrics)
    assert (tmp_path / "water/demand/1/model.onnx").read_bytes() == model.SerializeToString()


def test_the_xapp_beats_persistence_over_grpc(example, held_out):
    _, train, xapp = example
    model = FakeModel([TensorSpec("history", "FP32", (-1, 168))], predictor(train.train("linear")[0]))
    with FakePosition(model) as fake:
        replay = xapp.over_grpc(fake.address, fake.name, fake.token, held_out, DEADLINE_S, 0.0)
        assert len(fake.loops) == len(held_out)
    judged = xapp.judge(replay, held_out)
    assert judged["skill"] > 0
    assert judged["models"] == [model.version]


def test_the_xapp_beats_persistence_over_http(example, held_out):
    _, train, xapp = example
    predict = predictor(train.train("linear")[0])

    class Gateway(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            answer, headers = self.answer(body)
            self.send_response(200)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def answer(self, body):
            if self.path == "/v1/register":
                assert self.headers["waypost-position"] == "p/water/tank"
                assert body["application_token"] == "wp1_x"
                return {"access_token": "jwt", "position_uid": "uid-1", "model": "tank"}, {}
            assert self.path == "/positions/uid-1/v2/models/tank/infer"
            assert self.headers["authorization"] == "Bearer jwt"
            [tensor] = body["inputs"]
            forecast = predict({"history": np.array(tensor["data"], np.float32).reshape(tensor["shape"])})["forecast"]
            output = {"name": "forecast", "datatype": "FP32", "shape": [1, 6], "data": forecast.ravel().tolist()}
            return {"outputs": [output]}, {"waypost-model-version": "v1"}

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gateway) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        replay = xapp.over_http(address, "p/water/tank", "wp1_x", held_out, DEADLINE_S, 0.0)
        server.shutdown()
        thread.join()
    judged = xapp.judge(replay, held_out)
    assert judged["skill"] > 0
    assert judged["models"] == ["v1"]
    assert "20 closed loops" in xapp.as_text({"http": judged})
