"""What the servers of the benchmark that are written in Python have in common.

Each is called `serve.py MODELS_DIR --grpc PORT --http PORT --models NAME...`, serves `MODELS_DIR/NAME/model.onnx` under
NAME on 127.0.0.1, and has this directory on its path.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime


@dataclass(frozen=True)
class Arguments:
    models_dir: Path
    models: list[str]
    grpc: int
    http: int

    def sessions(self) -> "dict[str, onnxruntime.InferenceSession]":
        return {model: session(self.models_dir / model / "model.onnx") for model in self.models}


def arguments() -> Arguments:
    parser = argparse.ArgumentParser()
    parser.add_argument("models_dir", type=Path)
    parser.add_argument("--grpc", type=int, default=0)
    parser.add_argument("--http", type=int, default=0)
    parser.add_argument("--models", nargs="+", required=True)
    return Arguments(**vars(parser.parse_args()))


def session(path: Path) -> onnxruntime.InferenceSession:
    """One thread for each run, the same in all servers: on one core more of them spin in each other's way."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run(model: onnxruntime.InferenceSession, x: np.ndarray) -> np.ndarray:
    return model.run(["y"], {"x": x})[0]


def infer_json(model: str, loaded: onnxruntime.InferenceSession, body: dict) -> dict:
    """An answer of the Open Inference Protocol to a request that is plain JSON already."""
    tensor = body["inputs"][0]
    y = run(loaded, np.array(tensor["data"], np.float32).reshape(tensor["shape"]))
    output = {"name": "y", "datatype": "FP32", "shape": y.shape, "data": y.ravel().tolist()}
    return {"model_name": model, "id": body.get("id", ""), "outputs": [output]}
