"""onnxruntime without a server: the limit that no server can pass.

python -m tests.bench.alone MODELS_DIR SECONDS NAME...      one line of JSON for each model
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime

from tests.bench.models import ALL, INPUT, OUTPUT

WARM_RUNS = 20


def measure(path: Path, shape: tuple[int, ...], seconds: float) -> dict[str, float]:
    """CPU per run in µs, and runs a second."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs = {INPUT: np.ones((1, *shape), np.float32)}
    for _ in range(WARM_RUNS):
        session.run([OUTPUT], inputs)
    runs, cpu_s, began = 0, time.process_time(), time.perf_counter()
    while (passed_s := time.perf_counter() - began) < seconds:
        session.run([OUTPUT], inputs)
        runs += 1
    return {"cpu_us": (time.process_time() - cpu_s) / runs * 1e6, "per_s": runs / passed_s}


if __name__ == "__main__":
    models_dir, seconds, *names = sys.argv[1:]
    shapes = {model.name: model.shape for model in ALL}
    for name in names:
        found = measure(Path(models_dir) / name / "model.onnx", shapes[name], float(seconds))
        sys.stdout.write(json.dumps({"model": name, **found}) + "\n")
