"""Fuzzing of what reads a stranger's bytes.

Scripts of bytes, and of what an owner does, are played against code whose promises are checked after every step.

    make fuzz [FUZZ_RUNS=100000]                   each target with atheris, so many inputs
    python -m tests.fuzz http2 [-runs=N]           one target, until it finds something or you stop it
    pytest tests/fuzz                              replays the corpus, without atheris
    python -m tests.fuzz.corpus                    writes the corpus anew
    python -m tests.fuzz.coverage_check            how much of the code the corpus alone reaches

What fuzzing finds becomes a seed of its target, and so stays found.
"""
