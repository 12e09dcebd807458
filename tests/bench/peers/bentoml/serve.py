"""BentoML: one service with a route per model, one worker, its log of each call turned off."""

import os
import sys
from pathlib import Path

import bentoml
from peer import arguments, infer_json, session

MODELS = "BENCH_MODELS"


def service() -> object:
    """Made in the worker process, which imports this file by name and has no command line of ours."""
    paths = [Path(path) for path in os.environ[MODELS].split(os.pathsep)]
    sessions = {path.parent.name: session(path) for path in paths}

    def route(model: str) -> object:
        def infer(self: object, inputs: list, id: str = "") -> dict:  # noqa: A002  the protocol's name
            return infer_json(model, sessions[model], {"id": id, "inputs": inputs})

        infer.__name__ = f"infer_{model}"
        return bentoml.api(route=f"/v2/models/{model}/infer")(infer)

    body = {f"infer_{model}": route(model) for model in sessions}
    return bentoml.service(type("Onnx", (), body), name="onnx", workers=1, logging={"access": {"enabled": False}})


if __name__ == "__main__":
    given = arguments()
    os.environ[MODELS] = os.pathsep.join(str(given.models_dir / model / "model.onnx") for model in given.models)
    os.chdir(Path(__file__).parent)
    bin_dir = Path(sys.executable).parent
    command = ["bentoml", "serve", "serve:Onnx", "--host", "127.0.0.1", "--port", str(given.http)]
    os.execv(bin_dir / "bentoml", command)
else:
    Onnx = service()
