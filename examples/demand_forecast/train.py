"""Trains a forecaster of water flow, and publishes it.

    python examples/demand_forecast/train.py --variant linear --publish DIR --version water/demand/1

The model sees the last week and predicts the next six hours, as differences from the last hour. It looks at the same
hours on each of the seven days before, and at the last day. Differences are clipped, so that an outage (the flow falls
to a quarter within the hour) neither dominates training nor throws a forecast off. There are two variants, ridge
regression and a small neural network; each takes a second and is the same every time. All of it is in the ONNX graph,
normalisation included.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from series import STEPS_H, WINDOW_H, Windows, load, mae, persistence, split, windows

CLIP = 5.0  # l/s: a normal day stays within 3; outages are beyond 40
PENALTIES = (1.0, 10.0, 100.0, 1000.0)
HIDDEN, EPOCHS, DECAY, STEP = 8, 100, 1.0, 0.003  # best on the last fifth of the training data, as the penalty is
SEED = 1
OPSET = 17  # understood by every ONNX Runtime of the last years

# Positions in the window: the hours to predict on each of the days before, then the last day.
DAYS = [WINDOW_H - 24 * day + step for day in range(1, WINDOW_H // 24 + 1) for step in range(STEPS_H)]
LOOKED_AT = np.array(sorted({*DAYS, *range(WINDOW_H - 24, WINDOW_H - 1)}))

Layers = list[tuple[np.ndarray, np.ndarray]]
"""Weights [inputs, outputs] and bias [outputs] of each layer, with tanh in between."""


def features(history: np.ndarray) -> np.ndarray:
    """[N, len(LOOKED_AT)]: differences from the last hour, clipped. The graph does the same."""
    return np.clip(history - history[:, -1:], -CLIP, CLIP)[:, LOOKED_AT]


def targets(data: Windows) -> np.ndarray:
    return np.clip(data.future - data.history[:, -1:], -CLIP, CLIP)


def fit_linear(x: np.ndarray, y: np.ndarray) -> Layers:
    """Ridge regression; the penalty is the one that does best on the last fifth of the training data."""
    cut = len(x) * 4 // 5

    def error(penalty: float) -> float:
        return mae(run(ridge(x[:cut], y[:cut], penalty), x[cut:]), y[cut:])

    return ridge(x, y, min(PENALTIES, key=error))


def ridge(x: np.ndarray, y: np.ndarray, penalty: float) -> Layers:
    weights = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ (y - y.mean(0)))
    return [(weights, y.mean(0) - x.mean(0) @ weights)]


def fit_mlp(x: np.ndarray, y: np.ndarray) -> Layers:
    """One hidden layer, full-batch Adam with weight decay."""
    rng = np.random.default_rng(SEED)
    sizes = [(x.shape[1], HIDDEN), (HIDDEN, y.shape[1])]
    parameters = [p for n, m in sizes for p in (rng.normal(0, n**-0.5, (n, m)), np.zeros(m))]
    moments = [(np.zeros_like(p), np.zeros_like(p)) for p in parameters]
    for step in range(1, EPOCHS + 1):
        for p, (first, second), slope in zip(parameters, moments, gradients(parameters, x, y), strict=True):
            first += 0.1 * (slope - first)
            second += 0.001 * (slope**2 - second)
            p -= STEP * ((first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8) + DECAY * p)
    w1, b1, w2, b2 = parameters
    return [(w1, b1), (w2, b2)]


def gradients(parameters: list[np.ndarray], x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """Of the mean squared error."""
    w1, b1, w2, b2 = parameters
    hidden = np.tanh(x @ w1 + b1)
    error = 2 * (hidden @ w2 + b2 - y) / len(x)
    back = (error @ w2.T) * (1 - hidden**2)
    return [x.T @ back, back.sum(0), hidden.T @ error, error.sum(0)]


def run(layers: Layers, x: np.ndarray) -> np.ndarray:
    for weights, bias in layers[:-1]:
        x = np.tanh(x @ weights + bias)
    return x @ layers[-1][0] + layers[-1][1]


def to_onnx(layers: Layers, mean: np.ndarray, scale: np.ndarray) -> onnx.ModelProto:
    """`history` [N, WINDOW_H] -> `forecast` [N, STEPS_H], both FP32, litres per second."""
    constants = {"last_hour": np.array([WINDOW_H - 1]), "looked_at": LOOKED_AT}
    floats = {"low": -CLIP, "high": CLIP, "mean": mean, "scale": scale}
    nodes = [
        helper.make_node("Gather", ["history", "last_hour"], ["last"], axis=1),
        helper.make_node("Sub", ["history", "last"], ["difference"]),
        helper.make_node("Clip", ["difference", "low", "high"], ["clipped"]),
        helper.make_node("Gather", ["clipped", "looked_at"], ["features"], axis=1),
        helper.make_node("Sub", ["features", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "scale"], ["layer_0"]),
    ]
    for number, (weights, bias) in enumerate(layers, 1):
        floats |= {f"weights_{number}": weights, f"bias_{number}": bias}
        activated = number < len(layers)
        inputs = [f"layer_{number - 1}", f"weights_{number}", f"bias_{number}"]
        nodes.append(helper.make_node("Gemm", inputs, [f"sum_{number}" if activated else "change"]))
        if activated:
            nodes.append(helper.make_node("Tanh", [f"sum_{number}"], [f"layer_{number}"]))
    nodes.append(helper.make_node("Add", ["change", "last"], ["forecast"]))
    constants |= {name: np.asarray(value, np.float32) for name, value in floats.items()}
    graph = helper.make_graph(
        nodes,
        "demand_forecast",
        [helper.make_tensor_value_info("history", TensorProto.FLOAT, ["N", WINDOW_H])],
        [helper.make_tensor_value_info("forecast", TensorProto.FLOAT, ["N", STEPS_H])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


FITS: dict[str, Callable[[np.ndarray, np.ndarray], Layers]] = {"linear": fit_linear, "mlp": fit_mlp}


def train(variant: str) -> tuple[onnx.ModelProto, dict[str, float]]:
    """The model, and how well the very graph that is published does on the data held out."""
    series = load()
    training, held_out = split(windows(series), len(series))
    x = features(training.history).astype(np.float64)
    mean, scale = x.mean(0), x.std(0)
    model = to_onnx(FITS[variant]((x - mean) / scale, targets(training).astype(np.float64)), mean, scale)
    (forecast,) = ReferenceEvaluator(model).run(None, {"history": held_out.history})
    error = mae(forecast, held_out.future)
    baseline = mae(persistence(held_out.history), held_out.future)
    return model, {"mae": error, "persistence_mae": baseline, "skill": 1 - error / baseline}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", choices=FITS, default="linear")
    parser.add_argument("--output", type=Path, help="write the ONNX file here")
    parser.add_argument("--publish", type=Path, metavar="DIR", help="publish it in this training platform's directory")
    parser.add_argument("--version", default="water/demand/1", help="APPLICATION/MODEL/VERSION [default: %(default)s]")
    arguments = parser.parse_args()

    model, metrics = train(arguments.variant)
    if arguments.output:
        arguments.output.write_bytes(model.SerializeToString())
    if arguments.publish:
        publish(model, metrics, arguments.publish, arguments.version, arguments.variant)
    print(json.dumps({"variant": arguments.variant, **{name: round(value, 4) for name, value in metrics.items()}}))


def publish(model: onnx.ModelProto, metrics: dict[str, float], directory: Path, version: str, variant: str) -> None:
    from training_platform import publish as publish_version

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.onnx")
        file.write_bytes(model.SerializeToString())
        description = f"water flow: the next {STEPS_H} hours from the last {WINDOW_H}; {variant}"
        publish_version(directory, *version.split("/"), {"model.onnx": file}, metrics=metrics, description=description)


if __name__ == "__main__":
    main()
