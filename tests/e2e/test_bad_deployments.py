"""What cannot work ends in a clear state with a reason and a next step, and harms nothing that serves."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests import models
from tests.e2e.conftest import available
from tests.e2e.load import Load
from tests.e2e.platform import WAYPOST, Platform
from tests.ports import free_ports

GOOD = "projects/demo/applications/lab/models/affine/versions/1"


@pytest.fixture(scope="module")
def steady(platform: Platform) -> str:
    """A position that serves before, while and after others fail."""
    platform.deploy("lab/affine/1", "lab/steady")
    return "lab/steady"


@pytest.fixture
def serving(platform: Platform, steady: str) -> Iterator[Load]:
    with Load(platform.gateway, f"demo/{steady}", platform.token("lab"), scales={GOOD: 2.0}) as load:
        load.wait_for(20)
        yield load
        load.wait_for(20)
    assert not load.wrong
    assert not load.failures
    assert platform.state(steady).endswith("IN_SERVICE")


def refused(platform: Platform, version: str, position: str, *more: str) -> tuple[int, str]:
    """Exit code and what a person is told; with a next step."""
    done = platform.run("deploy", f"demo/{version}", "--position", f"demo/{position}", "--wait", *more)
    assert done.returncode != 0, done.stdout
    assert "error: " in done.stderr
    assert "hint: " in done.stderr
    return done.returncode, done.stderr


def test_a_corrupt_model_is_never_offered(platform: Platform, serving: Load, tmp_path: Path) -> None:
    platform.publish(models.corrupt(tmp_path / "model.onnx"), "lab/corrupt/1")
    _, told = refused(platform, "lab/corrupt/1", "lab/steady")
    assert "no ONNX model" in told
    assert version_state(platform, "lab/corrupt/1").endswith("INVALID")


def test_a_model_with_an_unknown_operator_is_never_offered(platform: Platform, serving: Load, tmp_path: Path) -> None:
    platform.publish(models.foreign(tmp_path / "model.onnx"), "lab/foreign/1")
    _, told = refused(platform, "lab/foreign/1", "lab/steady")
    assert "Warp" in told
    assert version_state(platform, "lab/foreign/1").endswith("INVALID")


def test_an_unknown_version_is_not_found(platform: Platform, serving: Load) -> None:
    code, told = refused(platform, "lab/nothing/7", "lab/steady")
    assert code == 3
    assert "demo/lab/nothing/7" in told


def test_an_unknown_edge_server_is_told(platform: Platform, serving: Load) -> None:
    _, told = refused(platform, "lab/affine/1", "lab/elsewhere", "--edge-server", "edge-9")
    assert "edge-9" in told


def test_bytes_that_do_not_match_their_digest_are_never_served(
    platform: Platform, serving: Load, tmp_path: Path
) -> None:
    platform.publish(models.affine(tmp_path / "model.onnx", scale=5.0), "lab/spoilt/1")
    platform.until(lambda: "lab/spoilt/1" in available(platform), "it is imported")
    artifact = stored(platform, "lab/spoilt/1")
    whole = artifact.read_bytes()
    artifact.chmod(0o600)
    artifact.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    _, told = refused(platform, "lab/spoilt/1", "lab/steady", "--timeout", "20")
    assert "nothing of it was loaded" in told
    assert platform.position("lab/steady")["status"]["serving"][0]["model_version"] == GOOD
    platform.deploy("lab/affine/1", "lab/steady")
    artifact.write_bytes(whole)  # not before: the agent would try once more, and rightly serve it


def test_a_full_disk_is_told_and_healed_by_room(platform: Platform, serving: Load, tmp_path: Path) -> None:
    platform.publish(heavy(tmp_path / "model.onnx"), "lab/heavy/1")
    platform.until(lambda: "lab/heavy/1" in available(platform), "it is imported")
    with no_room(platform.data_dir / "edge" / "artifacts"):
        _, told = refused(platform, "lab/heavy/1", "lab/steady", "--timeout", "20")
        assert "free space on the edge server's disk" in told
        assert platform.position("lab/steady")["status"]["serving"][0]["model_version"] == GOOD
        platform.deploy("lab/affine/1", "lab/steady")  # with room the agent would try once more, and rightly serve it
    platform.deploy("lab/heavy/1", "lab/roomy")


def test_a_taken_port_names_its_holder_and_the_flag(tmp_path: Path) -> None:
    found = free_ports(400)
    base, port = str(found[0]), found[300]  # beyond those that follow from the base
    with socket.create_server(("127.0.0.1", port)):
        arguments = ["up", "--detach", "--data-dir", str(tmp_path / "data"), "--port-base", base]
        done = subprocess.run(
            [WAYPOST, *arguments, "--gateway-port", str(port)], capture_output=True, text=True, check=False, timeout=60
        )
    assert done.returncode == 1
    assert "pid" in done.stderr
    assert "--gateway-port" in done.stderr


def version_state(platform: Platform, version: str) -> str:
    return str(platform.json("model", "version", "get", f"demo/{version}")["state"])


def stored(platform: Platform, version: str) -> Path:
    """The control plane's copy of a version's only file."""
    [artifact] = platform.json("model", "version", "get", f"demo/{version}")["artifacts"]
    [path] = (platform.data_dir / "control-plane" / "artifacts").rglob(artifact["digest"].removeprefix("sha256:"))
    return path


def heavy(path: Path) -> Path:
    """y = x W with 4 MB of weights."""
    weights = numpy_helper.from_array(np.ones((1024, 1024), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "heavy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1024])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1024])],
        [weights],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@contextmanager
def no_room(directory: Path) -> Iterator[None]:
    """Lays a file system of one megabyte over a directory that is kept otherwise as it is."""
    kept = directory.with_name("artifacts.kept")
    shutil.copytree(directory, kept)
    mount: Any = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", directory], capture_output=True, check=False
    )
    if mount.returncode:
        shutil.rmtree(kept)
        pytest.skip("mounting a small file system needs root")
    try:
        shutil.copytree(kept, directory, dirs_exist_ok=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)
        shutil.rmtree(kept)
