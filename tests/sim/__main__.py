# ruff: noqa: T201  what it says is for people
"""Runs the mesh under many seeds: `python -m tests.sim --seeds 1000 --jobs 2`, or one again: `--seed 123`.

Runs in processes of their own, with Python's hashes fixed, or a seed would not be the same run twice.
"""

import argparse
import os
import sys
import time
from multiprocessing import get_context

FIXED = {"PYTHONHASHSEED": "0"}  # sets of names are walked in the order of their hashes
TELL_EVERY = 100  # seeds: half a minute
RUNS_PER_PROCESS = 50  # what dead processes held is only let go of with ours


def main() -> int:
    asked = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    asked.add_argument("--seeds", type=int, default=200, help="how many, from --first on")
    asked.add_argument("--first", type=int, default=0)
    asked.add_argument("--seed", type=int, help="only this one, with all that happened")
    asked.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    asked.add_argument("--until-broken", action="store_true", help="end at the first seed that breaks a law")
    chosen = asked.parse_args()
    if any(os.environ.get(name) != value for name, value in FIXED.items()):
        os.execve(sys.executable, [sys.executable, "-m", "tests.sim", *sys.argv[1:]], {**os.environ, **FIXED})
    return _one(chosen.seed) if chosen.seed is not None else _many(chosen)


def _one(seed: int) -> int:
    from tests.sim.run import Failed, run

    result = run(seed, traced=1_000_000)
    if isinstance(result, Failed):
        print(result)
    else:
        print(*result.trace, f"seed {seed} holds, {result.virtual_s:.0f} virtual seconds", sep="\n")
    return int(isinstance(result, Failed))


def _many(chosen: argparse.Namespace) -> int:
    from tests.sim.run import Failed, run

    began, failed, done, virtual_s = time.monotonic(), [], 0, 0.0
    seeds = range(chosen.first, chosen.first + chosen.seeds)
    with get_context("fork").Pool(chosen.jobs, maxtasksperchild=RUNS_PER_PROCESS) as pool:
        for result in pool.imap_unordered(run, seeds):
            done += 1
            if isinstance(result, Failed):
                failed.append(result)
                print(result, flush=True)
                if chosen.until_broken:
                    break  # leaving the block ends the others
            else:
                virtual_s += result.virtual_s
            if done % TELL_EVERY == 0 and done < len(seeds):
                print(f"{done - len(failed)} of {done} seeds hold so far", flush=True)
    took_s = time.monotonic() - began
    print(f"{done - len(failed)} of {done} seeds hold, {virtual_s / 3600:.1f} virtual hours in {took_s:.0f} s")
    if failed:
        print(f"broken: {' '.join(f'{each.seed}:{each.broken.law}' for each in failed)}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
