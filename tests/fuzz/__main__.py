"""`python -m tests.fuzz TARGET [libFuzzer's flags]`: one target under atheris.

It starts from the committed corpus and writes what it finds to a new directory, whose name it prints.
"""

import importlib
import sys
import tempfile

OURS = ["waypost.wire", "inference_host"]


def main() -> None:
    import atheris  # only a fuzzing run needs it

    name, *flags = sys.argv[1:]
    with atheris.instrument_imports(include=OURS):  # all else, numpy first of all, would only slow it down
        target = importlib.import_module("tests.fuzz.targets").TARGETS[name]
        corpus = importlib.import_module("tests.fuzz.corpus").CORPUS / name
    found = tempfile.mkdtemp(prefix=f"waypost-fuzz-{name}-")  # the first directory is where it writes what it finds
    print(f"fuzzing {name}, what is found goes to {found}", flush=True)  # noqa: T201  a person started it
    limits = [f"-max_len={target.SCRIPT_BYTES_MAX}", f"-artifact_prefix={found}/"]
    atheris.Setup([sys.argv[0], *limits, *flags, found, str(corpus)], target.play)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
