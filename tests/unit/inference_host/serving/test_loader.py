"""With how many threads a graph is loaded. (What else a loader does: test_template, test_onnx, test_probe.)"""

import asyncio
import math
from pathlib import Path

import numpy as np
import pytest

from inference_host.model.manifest import read
from inference_host.serving import loader
from inference_host.serving.execution import Execution
from inference_host.serving.loader import Warm
from tests import models


def prepared(path: Path, *, threads: int) -> Warm:
    async def scenario() -> Warm:
        loaded: list[bool] = []
        async with Execution(threads) as execution:
            warm = await loader.prepare(read(path), execution, lambda: loaded.append(True))
        assert loaded == [True]
        return warm

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    ("slow_from_s", "gain_min", "threads", "used"),
    [
        (0.0, 0.0, 2, 2),  # slow, and faster with two
        (0.0, math.inf, 2, 1),  # slow, and not
        (math.inf, 0.0, 2, 1),  # fast
        (0.0, 0.0, 1, 1),  # one CPU
    ],
)
def test_a_slow_graph_gets_the_threads_that_make_it_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow_from_s: float, gain_min: float, threads: int, used: int
) -> None:
    monkeypatch.setattr(loader, "WIDE_RUN_S_MIN", slow_from_s)
    monkeypatch.setattr(loader, "WIDE_GAIN_MIN", gain_min)
    warm = prepared(models.affine(tmp_path / "m.onnx"), threads=threads)
    assert warm.loaded.threads == used
    assert warm.loaded.answer({"x": np.ones((1, 4), np.float32)})["y"].tolist() == [[3.0] * 4]
