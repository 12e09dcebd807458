"""The digest of a model version: one law (ModelVersion.digest in model.proto), three components that compute it."""

import hashlib
import random

from hypothesis import given
from hypothesis import strategies as st

from control_plane.registry import versions as registry
from edge_agent.position import assignments as agent
from inference_host.model import manifest as host
from waypost.api.control.v1.model_pb2 import Artifact, ModelVersion

DIGESTS = st.integers(0, 3).map(lambda number: f"sha256:{number:064x}")
ODD = st.text(st.sampled_from("ab/. -\x1f\x7f\t~é\uffff\U0001f6f0"), min_size=1, max_size=4)
"""Paths, with characters on both sides of the space that ends them in a line, and some that UTF-16 sorts otherwise."""


@given(st.dictionaries(ODD, DIGESTS, min_size=1, max_size=6), st.randoms())
def test_registry_agent_and_host_agree_whatever_the_names_and_their_order(
    files: dict[str, str], rng: random.Random
) -> None:
    artifacts = [Artifact(path=path, digest=digest) for path, digest in files.items()]
    rng.shuffle(artifacts)
    lines = sorted(f"{path} {digest}\n".encode() for path, digest in files.items())
    law = f"sha256:{hashlib.sha256(b''.join(lines)).hexdigest()}"
    assert registry.version_digest(artifacts) == law
    assert agent.version_digest(ModelVersion(artifacts=artifacts)) == law
    assert host.version_digest([(artifact.path, artifact.digest) for artifact in artifacts]) == law
