"""What a version's files must look like, and what a check's verdict is read as."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.registry.check import OUTPUT_BYTES_MAX, read_verdict
from control_plane.registry.versions import check_files
from waypost.api.control.v1.model_pb2 import Artifact, ModelVersion
from waypost.errors import Invalid

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("artifacts", "reason"),
    [
        ([], "BAD_PACKAGE"),
        ([("a", DIGEST, 1)] * 2, "BAD_PACKAGE"),
        ([(str(number), DIGEST, 1) for number in range(257)], "BAD_PACKAGE"),
        ([("a", DIGEST, 1), ("a/b", DIGEST, 1)], "BAD_PACKAGE"),
        ([("model.onnx", DIGEST, 1), ("manifest.json", DIGEST, 1)], "BAD_PACKAGE"),
        ([("../a", DIGEST, 1)], "BAD_PACKAGE"),
        ([("a", "sha256:0", 1)], "BAD_DIGEST"),
        ([("a", DIGEST, -1)], "BAD_SIZE"),
    ],
)
def test_files_of_which_nothing_can_be_made(artifacts: list[tuple[str, str, int]], reason: str) -> None:
    version = ModelVersion(artifacts=[Artifact(path=p, digest=d, size_bytes=s) for p, d, s in artifacts])
    with pytest.raises(Invalid) as refused:
        check_files(version)
    assert refused.value.reason == reason


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
        (b"", -63, "by signal 63"),
        (b"[" * 200_000, 0, "without a verdict"),
        (b'{"ok": true, "signature": ' + b"[" * 200_000, 0, "without a verdict"),
        (b'{"ok": true, "signature": "inputs"}', 0, "without a verdict"),
        (b'{"ok": true, "signature": {"inputs": [{"name": "\\ud800"}]}}', 0, "without a verdict"),
        (b'{"ok": true, "signature": {"inputs": [{"shape": [1e999]}]}}', 0, "without a verdict"),
        (b'{"ok": true, "signature": {"inputs": [{"shape": [' + b"1" * 5000 + b"]}]}}", 0, "without a verdict"),
        (b'{"ok": false, "reason": "no reason", "message": "", "hint": ""}', 1, "without a verdict"),
        (b'{"ok": false, "reason": "A' + b"B" * 100 + b'", "message": "", "hint": ""}', 1, "without a verdict"),
    ],
)
def test_no_verdict_is_a_crash_and_says_how(printed: bytes, code: int, says: str) -> None:
    with pytest.raises(Invalid, match=says) as refused:
        read_verdict(printed, code, "Segmentation fault")
    assert refused.value.reason == "CHECK_CRASHED"
    assert "Segmentation fault" in refused.value.message


def test_what_a_template_says_is_kept_as_plain_text() -> None:
    said = "a\0b \ud800 \x1b" + "x" * OUTPUT_BYTES_MAX
    verdict = {"ok": False, "reason": "TEMPLATE_FAILED", "message": said, "hint": said}
    with pytest.raises(Invalid) as refused:
        read_verdict(json.dumps(verdict).encode(), 1)
    for kept in (refused.value.message, refused.value.hint):
        assert kept.encode().decode().startswith("a�b � �xxx")
        assert len(kept) <= 10_000


def test_what_a_crashed_check_wrote_last_is_kept_as_plain_text() -> None:
    with pytest.raises(Invalid) as refused:
        read_verdict(b"", 1, "a\0b")
    assert refused.value.message.endswith("a�b")


words = st.sampled_from(["ok", "reason", "message", "hint", "signature", "inputs", "outputs", "name", "shape"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["\ud800", "FP32", "A_B"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words | st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(words, values) | values, st.integers(-70, 255))
def test_whatever_is_said_there_is_a_signature_or_a_reason(said: object, code: int) -> None:
    refused = Invalid("", "")
    try:
        read_verdict(json.dumps(said).encode(), code)
    except Invalid as error:
        refused = error
    assert refused.reason.isascii()
    assert (refused.message + refused.hint).encode().decode() == refused.message + refused.hint
