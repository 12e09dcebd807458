"""What a package may consist of, and its digest: one law for all components (ModelVersion.digest in model.proto)."""

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.packages import MANIFEST, is_digest, is_path, version_digest
from waypost.api.control.v1.model_pb2 import Artifact

DIGESTS = st.integers(0, 3).map(lambda number: f"sha256:{number:064x}")
ODD = st.text(st.sampled_from("ab/. -\x1f\x7f\t~é\uffff\U0001f6f0"), min_size=1, max_size=4)
"""Paths, with characters on both sides of the space that ends them in a line, and some that UTF-16 sorts otherwise."""


@given(st.dictionaries(ODD, DIGESTS, min_size=1, max_size=6), st.randoms())
def test_the_digest_is_that_of_sorted_lines_whatever_the_names_and_their_order(
    files: dict[str, str], rng: random.Random
) -> None:
    artifacts = [Artifact(path=path, digest=digest) for path, digest in files.items()]
    rng.shuffle(artifacts)
    lines = sorted(f"{path} {digest}\n".encode() for path, digest in files.items())
    assert version_digest(artifacts) == f"sha256:{hashlib.sha256(b''.join(lines)).hexdigest()}"


@pytest.mark.parametrize("path", ["model.onnx", "weights/a.bin", "a..b", ".hidden", "ü.onnx", f"sub/{MANIFEST}"])
def test_paths_inside_a_package(path: str) -> None:
    assert is_path(path)


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "/etc/passwd", "..", "../x", "a/../b", "a//b", "a/", "./a", ".", "a/."),
        *("a\\b", "a\nb", "a\0b", "a\u202eb", "x" * 256, MANIFEST),
    ],
)
def test_paths_that_could_lead_out_or_mislead(path: str) -> None:
    assert not is_path(path)


def test_digests() -> None:
    good = "sha256:" + "0a" * 32
    assert is_digest(good)
    assert not any(map(is_digest, (good[:-1], f"{good}0", good.upper(), f"{good}\n", "md5:00", "")))
