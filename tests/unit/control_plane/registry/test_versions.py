"""What a version's files must look like, and what a check's verdict is read as."""

import hashlib
import json

import pytest

from control_plane.registry.check import read_verdict
from control_plane.registry.versions import check_files, check_path, version_digest
from waypost.api.control.v1.model_pb2 import Artifact, ModelVersion
from waypost.errors import Invalid

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize("path", ["model.onnx", "weights/a.bin", "a..b", ".hidden", "ü.onnx"])
def test_paths_inside_a_package(path: str) -> None:
    check_path(path)


@pytest.mark.parametrize(
    "path", ["", "/", "/etc/passwd", "..", "../x", "a/../b", "a//b", "a/", "./a", "a\\b", "a\nb", "a\0b", "x" * 256]
)
def test_paths_that_could_lead_out(path: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_path(path)
    assert refused.value.reason == "BAD_PACKAGE"


@pytest.mark.parametrize(
    ("artifacts", "reason"),
    [
        ([], "BAD_PACKAGE"),
        ([("a", DIGEST, 1)] * 2, "BAD_PACKAGE"),
        ([(str(number), DIGEST, 1) for number in range(257)], "BAD_PACKAGE"),
        ([("a", DIGEST, 1), ("a/b", DIGEST, 1)], "BAD_PACKAGE"),
        ([("model.onnx", DIGEST, 1), ("manifest.json", DIGEST, 1)], "BAD_PACKAGE"),
        ([("a", "sha256:0", 1)], "BAD_DIGEST"),
        ([("a", DIGEST, -1)], "BAD_SIZE"),
    ],
)
def test_files_of_which_nothing_can_be_made(artifacts: list[tuple[str, str, int]], reason: str) -> None:
    version = ModelVersion(artifacts=[Artifact(path=p, digest=d, size_bytes=s) for p, d, s in artifacts])
    with pytest.raises(Invalid) as refused:
        check_files(version)
    assert refused.value.reason == reason


def test_the_digest_of_a_version_is_that_of_its_sorted_lines() -> None:
    artifacts = [Artifact(path="b", digest="sha256:2"), Artifact(path="a", digest="sha256:1")]
    expected = hashlib.sha256(b"a sha256:1\nb sha256:2\n").hexdigest()
    assert version_digest(artifacts) == version_digest(artifacts[::-1]) == f"sha256:{expected}"


def test_a_good_verdict_is_the_signature() -> None:
    signature = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}], "outputs": []}
    read = read_verdict(json.dumps({"ok": True, "signature": signature, "isolation": {}}).encode(), 0)
    assert (read.inputs[0].name, list(read.inputs[0].shape)) == ("x", [-1, 4])


def test_a_bad_verdict_is_the_hosts_reason() -> None:
    verdict = {"ok": False, "reason": "LOAD_FAILED", "message": "no", "hint": "yes", "signature": None}
    with pytest.raises(Invalid, match="no") as refused:
        read_verdict(json.dumps(verdict).encode(), 1)
    assert (refused.value.reason, refused.value.hint) == ("LOAD_FAILED", "yes")


@pytest.mark.parametrize(
    ("printed", "code", "says"),
    [
        (b"", -11, "by SIGSEGV"),
        (b"", 1, "with code 1"),
        (b"{", 0, "with code 0"),
        (b'{"ok": true}', 0, "without a verdict"),
        (b'{"ok": true, "signature": {"inputs": 7}}', 0, "without a verdict"),
        (b"[]", 0, "without a verdict"),
    ],
)
def test_no_verdict_is_a_crash_and_says_how(printed: bytes, code: int, says: str) -> None:
    with pytest.raises(Invalid, match=says) as refused:
        read_verdict(printed, code, "Segmentation fault")
    assert refused.value.reason == "CHECK_CRASHED"
    assert "Segmentation fault" in refused.value.message
