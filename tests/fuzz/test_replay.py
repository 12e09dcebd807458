"""The corpus, without a fuzzer."""

import pytest

from tests.fuzz import corpus, fuzz_hpack, fuzz_http2

FOLDERS = {
    corpus.HTTP2: (corpus.http2, fuzz_http2.play),
    corpus.HPACK: (corpus.hpack, fuzz_hpack.play),
}
SCRIPTS = [pytest.param(path, play, id=path.stem) for folder, (_, play) in FOLDERS.items() for path in folder.iterdir()]


@pytest.mark.parametrize(("path", "play"), SCRIPTS)
def test_a_script_breaks_nothing(path, play):
    play(path.read_bytes())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_corpus_is_what_its_generator_writes(folder):
    scripts = FOLDERS[folder][0]()
    written = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert written == {corpus.file_name(name): script for name, script in scripts.items()}
