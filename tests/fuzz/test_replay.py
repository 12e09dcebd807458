"""The corpus, without a fuzzer."""

import pytest

from tests.fuzz import corpus
from tests.fuzz.targets import TARGETS

SCRIPTS = [
    pytest.param(path, target.play, id=f"{name}-{path.stem}")
    for name, target in TARGETS.items()
    for path in (corpus.CORPUS / name).iterdir()
]


@pytest.mark.parametrize(("path", "play"), SCRIPTS)
def test_a_script_breaks_nothing(path, play):
    play(path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_is_what_its_generator_writes(name):
    written = {path.name: path.read_bytes() for path in (corpus.CORPUS / name).iterdir()}
    assert written == {corpus.file_name(what): script for what, script in TARGETS[name].seeds().items()}
