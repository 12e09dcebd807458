"""The whole path, told as a story: a model is trained, published, deployed to a position, and called by an xApp.

    python -m examples.demo           everything, then everything is stopped
    python -m examples.demo --keep    leaves it running and says how to look around

Everything is done the way a person would do it: with the `waypost` command and the two programs of
examples/demand_forecast. What is printed is what happened; the exit code is 0 if the model beat the persistence
forecast over gRPC and over HTTP, before and after a different model took over at the same endpoint.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parent.parent
DATA_DIR = ROOT / ".waypost/demo"
MODELS = DATA_DIR / "training"
PROJECT, APPLICATION, POSITION = "demo", "demo/water", "demo/water/tank-1"
FIRST, SECOND = "water/demand/1", "water/demand/2"
LOOPS_DURING_SWAP = 60


class Failed(Exception):
    """A step that did not do what it should; the text is what the command said."""


@dataclass
class Story:
    """Numbers its chapters and tells how long each took."""

    chapter: int = 0
    began_s: float = 0.0

    def begin(self, title: str) -> None:
        self.chapter += 1
        self.began_s = time.monotonic()
        print(f"\n{self.chapter}. {title}", flush=True)

    def tell(self, text: str) -> None:
        for line in text.splitlines():
            print(f"   {line}", flush=True)

    def end(self) -> None:
        self.tell(f"({time.monotonic() - self.began_s:.1f} s)")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="leave the platform running")
    arguments = parser.parse_args()
    # What the demo writes about its platform is no business of the person's own configuration, unless it stays.
    if not arguments.keep:
        os.environ["WAYPOST_CONFIG_DIR"] = str(DATA_DIR / "config")
    story = Story()
    try:
        run(story)
    except Failed as failure:
        print(f"\nthe demo failed:\n{failure}", file=sys.stderr)
        stop()
        return 1
    except BaseException:
        stop()
        raise
    if arguments.keep:
        leave(story)
    else:
        story.begin("Everything is stopped")
        stop()
        story.end()
    return 0


def run(story: Story) -> None:
    begin_anew()
    train(story, "linear", FIRST, "A model is trained on measured data")
    bring_up(story)
    token = deploy_first(story)
    call(story, token, "An xApp calls it, in closed loops, with weeks that the model has not seen")
    swap(story, token)
    call(story, token, "The same xApp calls the same endpoint again", loops=60)
    weigh(story)


def begin_anew() -> None:
    """Every demo tells the same story: what an earlier one left is stopped and removed."""
    if DATA_DIR.exists():
        stop()
        shutil.rmtree(DATA_DIR)


def train(story: Story, variant: str, version: str, title: str) -> None:
    story.begin(title)
    publish = ["--variant", variant, "--publish", str(MODELS), "--version", version]
    metrics = json.loads(command([sys.executable, "examples/demand_forecast/train.py", *publish]))
    story.tell(
        f"{variant}: hourly water flow, a week in, six hours out; off by {metrics['mae']:.2f} l/s on held-out weeks,\n"
        f"persistence by {metrics['persistence_mae']:.2f}; published as {version} in {_show(MODELS)}"
    )
    story.end()


def bring_up(story: Story) -> None:
    story.begin("The platform comes up: training platform, control plane, edge agent, gateway")
    up = waypost("up", "--detach", "--data-dir", str(DATA_DIR), "--training", str(MODELS), "--name", "demo")
    story.tell(f"API {up['address']}, gateway {up['gateway']}, training platform {up['training']}")
    story.end()


def deploy_first(story: Story) -> str:
    story.begin("The model is deployed to a position")
    deployed = waypost("deploy", f"{PROJECT}/{FIRST}", "--position", POSITION, "--wait")
    tell_states(story, deployed)
    endpoint = deployed["position"]["status"]["endpoint"]
    story.tell(
        f"endpoint {endpoint['gateway']}: metadata or header `waypost-position: {POSITION}`,\n"
        f"or HTTP below {endpoint['gateway']}{endpoint['path_prefix']}, or authority {endpoint['authority']}"
    )
    story.end()
    created = waypost("application", "token", "create", APPLICATION, "demo")
    return str(created["secret"])


def tell_states(story: Story, deployed: dict[str, Any]) -> None:
    """Each state once, with the time since the command was given."""
    passed: dict[str, float] = {}
    for state in deployed["states"]:
        passed.setdefault(state["state"], state["after_s"])
    story.tell(" → ".join(f"{name} after {after_s:.2f} s" for name, after_s in passed.items()))


def call(story: Story, token: str, title: str, loops: int | None = None) -> None:
    story.begin(title)
    figures = json.loads(xapp(token, loops))
    for way, of in figures.items():
        story.tell(
            f"{way:4} {of['loops']} loops: closed loop p50 {of['loop_ms']['p50']} ms, p99 {of['loop_ms']['p99']} ms;"
            f" off by {of['mae']:.2f} l/s, {of['skill']:.0%} better than persistence"
        )
        story.tell(f"     answered by {', '.join(of['models'])}")
    story.end()


def swap(story: Story, token: str) -> None:
    train(story, "mlp", SECOND, "A different model is trained and published")
    story.begin("It takes over at the same endpoint, while the xApp goes on calling")
    paced = [*xapp_command(LOOPS_DURING_SWAP), "--pace", "0.05"]
    caller = subprocess.Popen(paced, cwd=ROOT, env=_with(token), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deployed = waypost("deploy", f"{PROJECT}/{SECOND}", "--position", POSITION, "--wait")
    tell_states(story, deployed)
    out, error = caller.communicate()
    if caller.returncode:
        raise Failed(f"a call failed during the swap: {error.decode()}{out.decode()}")
    answered = json.loads(out)
    story.tell(
        f"{2 * LOOPS_DURING_SWAP} calls meanwhile, none failed;"
        f" answered by {', '.join(sorted({*answered['grpc']['models'], *answered['http']['models']}))}"
    )
    story.end()


def weigh(story: Story) -> None:
    story.begin("What it weighs: memory of every process (PSS), with one position and one replica")
    time.sleep(2.0)  # the version that was replaced has left by then
    weights = sorted(processes(), key=lambda pair: -pair[1])
    for name, megabytes in weights:
        story.tell(f"{name:18} {megabytes:5.0f} MB")
    story.tell(f"{'in all':18} {sum(megabytes for _, megabytes in weights):5.0f} MB")


def processes() -> list[tuple[str, float]]:
    """Everything whose command line names the demo's data directory, and its memory in MB."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if process.pid != os.getpid() and any(str(DATA_DIR) in argument for argument in line):
            found.append((_named(line), process.memory_full_info().pss / 1e6))
    return found


def _named(line: list[str]) -> str:
    """`inference host` for a Python module, else the program's own name."""
    if "-m" in line:
        return line[line.index("-m") + 1].removeprefix("mesh.").split(".")[0].replace("_", " ")
    return Path(line[0]).name


def leave(story: Story) -> None:
    bin_dir = _show(Path(sys.executable).parent)
    story.begin("It is left running; look around")
    for what in ("status", f"watch {POSITION}", f"position get {POSITION}", f"logs {POSITION}", "events"):
        story.tell(f"{bin_dir}/waypost {what}")
    story.tell("make stop    # when you have seen enough")


def stop() -> None:
    subprocess.run([*WAYPOST, "down", "--data-dir", str(DATA_DIR)], cwd=ROOT, check=False, capture_output=True)


WAYPOST = [str(Path(sys.executable).parent / "waypost")]


def waypost(*arguments: str) -> dict[str, Any]:
    return json.loads(command([*WAYPOST, "--output", "json", *arguments]))  # type: ignore[no-any-return]


def xapp_command(loops: int | None) -> list[str]:
    limit = [] if loops is None else ["--loops", str(loops)]
    return [sys.executable, "examples/demand_forecast/xapp.py", "--position", POSITION, "--json", *limit]


def xapp(token: str, loops: int | None) -> str:
    return command(xapp_command(loops), _with(token))


def _with(token: str) -> dict[str, str]:
    return {**os.environ, "WAYPOST_TOKEN": token}


def command(argv: list[str], env: dict[str, str] | None = None) -> str:
    """What the command printed. Raises: Failed with all that it said."""
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"$ {' '.join(argv)}\n{done.stdout}{done.stderr}")
    return done.stdout


def _show(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


if __name__ == "__main__":
    sys.exit(main())
