"""`python -m tests.fuzz.campaign INPUTS [SEED]`: each target in turn, so many made-up inputs. `make fuzz` calls it.

With a seed they are the same ones each time, so that a change is judged by what it changed; without, new ones.

Ends with the first target that finds something, and prints what the fuzzer said: the exception, and the input, which
becomes a seed of that target when the bug is mended.
"""

import subprocess
import sys
import time

from tests.fuzz.targets import TARGETS


def main(inputs: int, seed: int | None = None) -> int:
    flags = [f"-runs={inputs}", *([f"-seed={seed}"] if seed is not None else [])]
    for name in TARGETS:
        began = time.monotonic()
        argv = [sys.executable, "-m", "tests.fuzz", name, *flags]
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        if done.returncode:
            sys.stdout.write(f"{done.stdout}\n{name}: broken\n")
            return 1
        sys.stdout.write(f"{name}: {inputs} inputs in {time.monotonic() - began:.0f} s, nothing found\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
