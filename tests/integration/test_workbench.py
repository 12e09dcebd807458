"""What a model developer uses, as processes: init, test, bench, and a host that follows its files."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn
from skl2onnx import to_onnx
from sklearn.linear_model import LinearRegression

import waypost
from tests import models
from tests.conformance import hosts
from tests.conformance.hosts import RunningHost
from tests.waiting import PATIENCE_S, wait_until


def host(*arguments: object) -> subprocess.CompletedProcess[str]:
    """`waypost host ...`, to its end."""
    command = [sys.executable, "-m", "inference_host", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def begun(directory: Path, *arguments: str) -> Path:
    done = host("init", directory, *arguments)
    assert done.returncode == 0, done.stderr
    return directory


def tried(package: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = host("test", package, "--output", "json", *arguments)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


@pytest.fixture
def level(tmp_path: Path) -> Path:
    return begun(tmp_path / "level")


# -- init and test


def test_a_function_is_tried_by_hand_over_grpc_and_over_http(level: Path) -> None:
    code, report = tried(level)
    assert (code, report["ok"]) == (0, True)
    lines = [(check["what"], check["way"], check["ok"]) for check in report["checks"]]
    ways = ("by hand", "gRPC", "HTTP")
    samples = [(f"sample {number}", way, True) for number in (1, 2) for way in ways]
    assert lines == [*samples, ("batch", "by hand", True)]
    assert all(0 < check["p50_ms"] <= check["p99_ms"] for check in report["checks"])
    assert [check["detail"] for check in report["checks"][:3]] == ["as expected"] * 3


def test_people_get_a_table(level: Path) -> None:
    done = host("test", level)
    assert "sample 1  by hand  ok" in done.stdout
    assert "7 of 7 checks passed" in done.stdout


def test_scikit_learn_behind_a_template_answers_what_it_answered_when_it_was_trained(tmp_path: Path) -> None:
    iris = begun(tmp_path / "iris", "--from", "sklearn")
    assert f"scikit-learn=={sklearn.__version__}\n" in (iris / "requirements.txt").read_text()
    code, report = tried(iris)
    assert code == 0, report
    assert {check["detail"] for check in report["checks"] if check["what"] != "batch"} == {"as expected"}


def test_scikit_learn_as_onnx_becomes_a_package_that_answers_the_same(tmp_path: Path) -> None:
    x = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]], np.float32)
    model = LinearRegression().fit(x, x @ [2.0, 3.0] + 1)
    (tmp_path / "linear.onnx").write_bytes(to_onnx(model, x[:1]).SerializeToString())
    package = begun(tmp_path / "linear", "--from", str(tmp_path / "linear.onnx"))
    (sample,) = json.loads((package / "samples.json").read_text())
    (given,), (expected,) = sample["inputs"], sample["outputs"]
    assert expected["data"] == pytest.approx(model.predict([given["data"]]).tolist(), rel=1e-4)
    assert tried(package)[0] == 0


@pytest.mark.parametrize("datatype", ["FP16", "BYTES", "BOOL", "UINT64"])
def test_any_datatype_goes_over_both_wires(tmp_path: Path, datatype: str) -> None:
    code, report = tried(models.echo(tmp_path / "echo.onnx", datatype, ["n", 2]))
    assert code == 0, report


def test_a_model_that_is_none_leaves_no_package(tmp_path: Path) -> None:
    models.corrupt(tmp_path / "half.onnx")
    done = host("init", tmp_path / "half", "--from", tmp_path / "half.onnx")
    assert done.returncode == 1
    assert "error: half" in done.stderr or "error: model.onnx" in done.stderr
    assert not (tmp_path / "half").exists()


@pytest.mark.parametrize(
    ("old", "new", "way", "detail"),
    [
        ("milliwatts @ self.weights", "milliwatts @ self.weights * 2", "by hand", "level_dbm[0, 0] is -86.9897"),
        (
            "milliwatts @ self.weights",
            "(milliwatts @ self.weights) / len(milliwatts)",
            "by hand",
            "batches = True, but",
        ),
    ],
)
def test_another_answer_fails_with_its_place(level: Path, old: str, new: str, way: str, detail: str) -> None:
    change(level / "template.py", old, new)
    code, report = tried(level)
    assert code == 1
    failed = next(check for check in report["checks"] if not check["ok"])
    assert failed["way"] == way
    assert failed["detail"].startswith(detail)


def test_tolerances_decide_what_is_another_answer(level: Path) -> None:
    change(level / "template.py", "10 * np.log10(level)", "10.001 * np.log10(level)")
    assert tried(level)[0] == 1
    assert tried(level, "--rtol", "0.01")[0] == 0


def test_recording_makes_the_present_answers_the_expected_ones(level: Path) -> None:
    change(level / "template.py", "milliwatts @ self.weights", "milliwatts @ self.weights * 2")
    assert tried(level, "--record")[0] == 0
    assert tried(level)[0] == 0
    recorded = json.loads((level / "samples.json").read_text())
    assert recorded[0]["outputs"][0]["data"] == pytest.approx([-86.9897], rel=1e-4)
    assert len(recorded) == 2


@pytest.mark.parametrize(
    ("body", "reason", "said"),
    [
        ("return self.wieghts", "SAMPLE_FAILED", "no attribute 'wieghts'"),
        ("import os; os.kill(os.getpid(), 11)", "DIED", "Segmentation fault"),
        ("import os; os._exit(3)", "DIED", ""),
        ("import time; time.sleep(3600)", "TIMED_OUT", "template.py"),
    ],
)
def test_a_template_that_fails_crashes_leaves_or_hangs_is_reported(
    level: Path, body: str, reason: str, said: str
) -> None:
    change(level / "template.py", "return milliwatts @ self.weights", body)
    done = host("test", level, "--output", "json", "--timeout-s", "8")
    report = json.loads(done.stdout)
    assert (done.returncode, report["ok"], report["reason"]) == (1, False, reason)
    assert said in done.stderr


# -- run


@contextmanager
def followed(model: Path, log: Path) -> Iterator[RunningHost]:
    with hosts.by_hand(model, log, "--reload") as running:
        yield running
        assert running.stop() == 0


def level_of(running: RunningHost) -> float:
    """By the SDK, as an xApp calls a position."""
    position = waypost.connect(f"http://{running.address}", position="local/host/level", token="none")
    with position, position.loop(deadline_s=PATIENCE_S):
        return float(position.infer([[-90.0] * 8])["level_dbm"][0, 0])


def until_logged(running: RunningHost, words: str) -> None:
    wait_until(lambda: words in running.log.read_text(), what=f"{words!r} in the log", more=running.log.read_text)


def test_a_host_follows_its_template_and_keeps_what_serves(level: Path, tmp_path: Path) -> None:
    with followed(level, tmp_path / "log") as running:
        assert level_of(running) == pytest.approx(-90, abs=1e-3)
        change(level / "template.py", "milliwatts @ self.weights", "milliwatts @ self.wieghts")
        until_logged(running, "before this change serves on")
        assert level_of(running) == pytest.approx(-90, abs=1e-3)
        change(level / "template.py", "milliwatts @ self.wieghts", "milliwatts @ self.weights * 10")
        assert running.process.stdout is not None
        assert any(line.startswith("reloaded level") for line in running.process.stdout)
        assert level_of(running) == pytest.approx(-80, abs=1e-3)


def test_a_first_load_that_fails_is_tried_again_with_the_next_change(level: Path, tmp_path: Path) -> None:
    template = level / "template.py"
    good = template.read_text()
    template.write_text("class Level\n")
    with (tmp_path / "log").open("w") as log:
        command = [sys.executable, "-m", "inference_host", "run", str(level), "--reload", "--listen", "127.0.0.1:0"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        until_logged(RunningHost(process, "", tmp_path / "log"), "waiting for a change")
        template.write_text(good)
        assert process.stdout is not None
        assert any(line.startswith("serving level") for line in process.stdout)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


# -- bench


def measured(*arguments: object) -> dict[str, Any]:
    done = host("bench", *arguments, "--seconds", "0.5", "--output", "json")
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_a_closed_loop_measures_a_host_of_its_own(tmp_path: Path) -> None:
    report = measured(models.affine(tmp_path / "affine.onnx"), "--in-flight", "4")
    assert report["errors"] == {}
    assert report["calls_answered"] == report["calls_due"] == report["calls_in_time"] > 0
    assert report["host_cpu_us_per_call"] > 0
    assert report["host_memory_bytes"] > 0
    assert sum(report["batches"].values()) > 0
    assert 1 <= report["batch_rows_mean"] <= 4
    times = report["latency_ms"]
    assert 0 < times["p50"] <= times["p90"] <= times["p99"] <= times["max"]


def test_an_open_loop_measures_a_host_that_runs_already(level: Path, tmp_path: Path) -> None:
    with hosts.by_hand(level, tmp_path / "log") as running:
        report = measured(level, "--target", running.address, "--rate", "200", "--deadline-ms", "10000")
    assert report["model"] == "level"
    assert report["host_cpu_us_per_call"] is None
    assert 50 < report["calls_due"] < 150  # 100 are expected; a Poisson process is this far off once in a million runs
    assert report["calls_in_time"] == report["calls_answered"] == report["calls_due"]


def test_errors_are_counted_by_reason(tmp_path: Path) -> None:
    with hosts.by_hand(models.slow(tmp_path / "slow.onnx"), tmp_path / "log") as running:
        done = host("bench", "--target", running.address, "--deadline-ms", "1", "--seconds", "0.5", "--output", "json")
    report = json.loads(done.stdout)
    assert done.returncode == (0 if report["calls_answered"] else 1)
    assert report["errors"]
    assert all(re.match("DEADLINE_EXCEEDED|UNAVAILABLE OVERLOADED", name) for name in report["errors"])
    assert sum(report["errors"].values()) + report["calls_answered"] == report["calls_due"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bench"], "error: there is nothing to measure"),
        (["bench", "--target", "127.0.0.1:1"], "error: nobody answers at 127.0.0.1:1"),
        (["bench", "missing.onnx"], "error: the host ended with exit code 3"),
        (["bench", "m.onnx", "--in-flight", "0"], "error: --in-flight was given '0'"),
        (["test", "--output", "yaml"], "error: --output was given 'yaml'"),
        (["init", "x", "--from", "pt"], "error: --from was given 'pt'"),
        (["tset"], "error: `waypost host` has no command 'tset'; did you mean 'test'?"),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], words: str) -> None:
    done = host(*arguments)
    assert done.returncode in (1, 2)
    assert words in done.stderr
    assert "Traceback" not in done.stderr
