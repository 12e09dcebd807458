"""A platform of real processes whose edge server reaches its control plane through a proxy, and somebody who calls.

It is what `waypost up` runs, with these differences: the agent's command line names the proxy instead of the control
plane's link; edge server and control plane have a small disk each; where clocks shall jump, each has one of its own.
The supervisor of `up` starts again what dies, as in production.
"""

import json
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.chaos.cells import Victim
from tests.chaos.clock import Clock
from tests.chaos.disk import Disk, mounted
from tests.chaos.proxy import Proxy
from tests.e2e.conftest import publish_models
from tests.e2e.load import Load
from tests.e2e.platform import Platform

POSITION = "lab/tower"
VERSIONS = ("lab/affine/1", "lab/affine/2")
SCALES = {f"projects/demo/applications/lab/models/affine/versions/{n}": scale for n, scale in ((1, 2.0), (2, 3.0))}
REPLICAS = 2
EDGE, CONTROL_PLANE = "edge", "control-plane"  # directories of `waypost up`
AGENT = ("edge_agent", "run")  # words of its command line
CALLERS = 10  # of 50 calls a second each: a frozen host holds some of them up


class World:
    def __init__(
        self, platform: Platform, proxy: Proxy, token: str, disks: Mapping[Victim, Disk], clocks: Mapping[Victim, Clock]
    ) -> None:
        self.platform = platform
        self.proxy = proxy
        self.disks = disks
        self.clocks = clocks
        """Empty where nobody's clock can be set."""
        self._backup = platform.directory / "backup.tar"
        self._token = token

    @contextmanager
    def load(self) -> Iterator[Load]:
        gateway = self.platform.gateway
        with Load(gateway, f"demo/{POSITION}", self._token, scales=SCALES, callers=CALLERS) as load:
            load.wait_for(200)
            yield load

    # -- what is asked of it

    def ask_for(self, version: str) -> None:
        """Writes the spec, as often as it takes: the control plane may be away."""
        arguments = ("position", "update", f"demo/{POSITION}", "--model-version", f"demo/{version}")
        self.platform.until(lambda: self.platform.run(*arguments).returncode == 0, f"{version} is asked for")

    def has_begun(self, version: str) -> bool:
        """Whether a host of that version has been started, or runs already."""
        position = self.platform.position(POSITION)
        return any(_short(each) == version for each in position["status"].get("replicas", ()))

    def serves(self, version: str) -> bool:
        """As asked for, whole and nothing else, and everybody agrees."""
        done = self.platform.run("-o", "json", "position", "get", f"demo/{POSITION}")
        if done.returncode:
            return False
        position = self.platform.position(POSITION)
        status = position["status"]
        return (
            status["state"].endswith("IN_SERVICE")
            and int(status.get("observed_generation", 0)) == int(position["generation"])
            and [_short(each) for each in status.get("serving", ())] == [version]
            and self.platform.ready_replicas(POSITION) == REPLICAS == len(status["replicas"])
            and self.platform.agent_is_connected()
        )

    def edge_is_ahead(self) -> bool:
        """Whether the agent keeps what it has, since its control plane knows less."""
        done = self.platform.run("-o", "json", "edge-server", "get", "edge-1")
        conditions = json.loads(done.stdout)["status"]["conditions"] if done.returncode == 0 else []
        return any(c["type"] == "DesiredStateAccepted" and c["status"].endswith("FALSE") for c in conditions)

    # -- its store

    def back_up(self) -> None:
        self._backup.unlink(missing_ok=True)
        self._waypost("backup", str(self._backup), "--data-dir", str(self.platform.data_dir / CONTROL_PLANE))

    def restore(self) -> None:
        """Kills the control plane; the one that is started again knows what it knew when it was backed up."""
        (supervisor,) = self.processes("console.local.supervision")
        supervisor.send_signal(signal.SIGSTOP)
        try:
            self.platform.kill("control_plane")
            directory = self.platform.data_dir / CONTROL_PLANE
            for each in directory.iterdir():
                shutil.rmtree(each) if each.is_dir() else each.unlink()
            self._waypost("restore", str(self._backup), "--data-dir", str(directory))
        finally:
            supervisor.send_signal(signal.SIGCONT)

    def _waypost(self, *arguments: str) -> None:
        done = self.platform.run(*arguments)
        assert done.returncode == 0, f"waypost {arguments[0]}: {done.stderr}"

    # -- its processes

    def processes(self, *words: str) -> list[psutil.Process]:
        return self.platform.processes(*words)

    def hosts(self) -> dict[str, int]:
        """Replica to process id, of hosts that run."""
        found = {}
        for process in self.processes("inference_host", "settings.toml"):
            settings = process.cmdline()[-1]
            found[Path(settings).parent.name] = process.pid
        return found


@contextmanager
def world(directory: Path, *, clocks: bool) -> Iterator[World]:
    """In service with two replicas of the first version; afterwards nothing of it is left.

    clocks: give box and control plane wall clocks of their own. Raises: CannotMount, NoLibrary.
    """
    platform = Platform(directory)
    with mounted(platform.data_dir / EDGE) as edge, mounted(platform.data_dir / CONTROL_PLANE) as control_plane:
        platform.up()
        try:
            publish_models(platform, directory)
            link = _link_address(platform)
            with Proxy(link) as proxy:
                _go_through(platform, link, proxy.address)
                own = _give_clocks(platform) if clocks else {}
                known = ("application", "get", "demo/lab")
                platform.until(lambda: platform.run(*known).returncode == 0, "the application is known")
                token = platform.token("lab")  # before the deployment, which brings it to the edge
                platform.deploy(VERSIONS[0], POSITION, "--replicas", str(REPLICAS))
                yield World(platform, proxy, token, {Victim.BOX: edge, Victim.CONTROL_PLANE: control_plane}, own)
        finally:
            for process in platform.processes():
                process.send_signal(signal.SIGCONT)
            platform.down()


def _link_address(platform: Platform) -> str:
    (agent,) = platform.processes(*AGENT)
    arguments = agent.cmdline()
    return arguments[arguments.index("--control-plane") + 1]


def _go_through(platform: Platform, link: str, proxy: str) -> None:
    """The agent's command line is kept beside its process: whoever starts it again starts what stands there."""
    command = platform.data_dir / "processes" / "agent" / "command"
    command.write_bytes(command.read_bytes().replace(link.encode(), proxy.encode()))
    platform.kill(*AGENT)
    platform.until(lambda: _link_address_or_none(platform) == proxy, "the agent dials the proxy")
    platform.until(platform.agent_is_connected, "the agent is connected through the proxy")


def _give_clocks(platform: Platform) -> dict[Victim, Clock]:
    """Starts agent and control plane again, each with a clock, which everything has that they start."""
    clocks = {}
    for victim, name, words in (
        (Victim.BOX, "agent", AGENT),
        (Victim.CONTROL_PLANE, CONTROL_PLANE, ("control_plane",)),
    ):
        clocks[victim] = clock = Clock(platform.directory / f"{name}.clock")
        clock.set(0)
        command = platform.data_dir / "processes" / name / "command"
        wrapped = ["env", *(f"{key}={value}" for key, value in clock.environment().items())]
        command.write_bytes("\0".join([*wrapped, command.read_text()]).encode())
        platform.kill(*words)
    platform.until(lambda: platform.processes(*AGENT) and platform.agent_is_connected(), "the agent is connected")
    return clocks


def _link_address_or_none(platform: Platform) -> str | None:
    try:
        return _link_address(platform)
    except (ValueError, psutil.NoSuchProcess):
        return None


def _short(replica: dict[str, str]) -> str:
    """`lab/affine/1`."""
    parts = replica["model_version"].split("/")
    return "/".join(parts[3::2])


def wait(seconds: float) -> None:
    """For faults that must last: the one place where chaos looks at a clock instead of at a state."""
    time.sleep(seconds)
