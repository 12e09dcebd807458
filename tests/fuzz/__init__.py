"""Fuzzing of `waypost.wire`: scripts of bytes and of what an owner does, played against a machine whose promises are
checked after every step.

    python -m tests.fuzz.fuzz_http2                with atheris, until it finds something or you stop it
    python -m tests.fuzz.fuzz_hpack
    pytest tests/fuzz                              replays the corpus, without atheris
    python -m tests.fuzz.corpus                    writes the corpus anew
    python -m tests.fuzz.coverage_check            how much of the machine the corpus alone reaches

What fuzzing finds becomes a scenario in `corpus.py`, and so stays found.
"""
