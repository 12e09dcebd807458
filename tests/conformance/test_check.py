"""`waypost host check`: what can be served, what cannot and why, in a process that can do no harm."""

import signal
from pathlib import Path

import pytest

from tests import models
from tests.conformance import hosts

TEMPLATE = """
import os, resource, socket, sys
import numpy as np

class Spy:
    def load(self, context):
        print("templates may print")

    def predict(self, prepared):
        {body}
        return {{"y": prepared["x"]}}
"""
SPEC = {"name": "x", "datatype": "FP32", "shape": [1]}
SAMPLE = '{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}'


def template(directory: Path, body: str) -> Path:
    """A package whose template does `body` when it is called."""
    signature = {"inputs": [SPEC], "outputs": [{**SPEC, "name": "y"}]}
    return models.template(directory, TEMPLATE.format(body=body), "Spy", samples=SAMPLE, signature=signature)


def test_a_good_model_is_described(tmp_path: Path) -> None:
    code, verdict = hosts.check(models.affine(tmp_path / "m.onnx"))
    assert (code, verdict["ok"], verdict["reason"]) == (0, True, "")
    assert verdict["signature"] == {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 4]}],
    }
    told = {"network", "network_reason", "files", "files_reason", "memory_bytes", "cpu_s"}
    assert told == set(verdict["isolation"])


@pytest.mark.parametrize(
    ("make", "reason"), [(models.corrupt, "CORRUPT_MODEL"), (models.foreign, "UNSUPPORTED_OPERATOR")]
)
def test_a_bad_model_has_a_reason_and_a_next_step(tmp_path: Path, make: object, reason: str) -> None:
    code, verdict = hosts.check(make(tmp_path / "m.onnx"))  # type: ignore[operator]
    assert (code, verdict["ok"], verdict["reason"]) == (1, False, reason)
    assert verdict["message"]
    assert verdict["hint"]


def test_a_template_is_run_and_may_print(tmp_path: Path) -> None:
    code, verdict = hosts.check(template(tmp_path, "print('more')"))
    assert (code, verdict["ok"]) == (0, True), verdict


def test_a_template_has_no_network_where_the_kernel_lets_us_take_it(tmp_path: Path) -> None:
    body = (
        "socket.if_nameindex() == [(1, 'lo')] or sys.exit();"
        "assert socket.socket().connect_ex(('127.0.0.1', 9)) in (101, 13)"  # unreachable, or refused by Landlock before
    )
    code, verdict = hosts.check(template(tmp_path, body))
    if not verdict["isolation"]["network"]:
        pytest.skip(verdict["isolation"]["network_reason"])
    assert (code, verdict["ok"]) == (0, True), verdict


def test_a_template_sees_no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYPOST_TOKEN", "secret")
    body = "assert b'secret' not in open('/proc/self/environ', 'rb').read(); assert 'WAYPOST_TOKEN' not in os.environ"
    code, verdict = hosts.check(template(tmp_path, body))
    assert (code, verdict["ok"]) == (0, True), verdict


def test_a_template_sees_no_files_but_its_own_where_the_kernel_lets_us_take_them(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (tmp_path / "beside").write_text("secret")
    body = (
        "assert open(os.path.dirname(__file__) + '/samples.json').read();"
        "open(os.environ['TMPDIR'] + '/mine', 'w').write('1');"
        f"open({str(tmp_path / 'beside')!r})"
    )
    code, verdict = hosts.check(template(package, body))
    if not verdict["isolation"]["files"]:
        pytest.skip(verdict["isolation"]["files_reason"])
    assert (code, verdict["reason"]) == (1, "SAMPLE_FAILED")
    assert "PermissionError" in verdict["message"]


def test_by_hand_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package, scratch = tmp_path / "package", tmp_path / "scratch"
    package.mkdir()
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    code, verdict = hosts.check(template(package, "open(os.environ['TMPDIR'] + '/mine', 'w').write('1')"))
    assert (code, verdict["ok"]) == (0, True), verdict
    assert list(scratch.iterdir()) == []


def test_a_template_is_limited(tmp_path: Path) -> None:
    body = "assert resource.getrlimit(resource.RLIMIT_AS)[1] <= 8 << 30; np.ones(1 << 34)"
    code, verdict = hosts.check(template(tmp_path, body))
    assert (code, verdict["reason"]) == (1, "OUT_OF_MEMORY")


def test_a_template_that_lacks_a_library_is_told_with_all_that_is_missing(tmp_path: Path) -> None:
    package = template(tmp_path, "...")
    (package / "requirements.txt").write_text("numpy>=99\nno-such-library\n")
    code, verdict = hosts.check(package)
    assert (code, verdict["reason"]) == (1, "MISSING_LIBRARY")
    assert "numpy>=99" in str(verdict["message"])
    assert "pip install 'numpy>=99' no-such-library" in str(verdict["hint"])


def test_a_crash_is_the_callers_to_notice(tmp_path: Path) -> None:
    code, verdict = hosts.check(template(tmp_path, "os.kill(os.getpid(), 11)"))
    assert (code, verdict) == (-signal.SIGSEGV, {})


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    code, verdict = hosts.check(tmp_path / "nowhere.onnx")
    assert (code, verdict["reason"]) == (1, "MISSING_FILE")
