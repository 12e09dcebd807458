"""What `up` runs, with which arguments, and where everything of it lies."""

import sys
from dataclasses import dataclass
from pathlib import Path

from console.local.choices import HOST, Choices
from mesh.processes import Process

TRAINING, CONTROL_PLANE, AGENT, SUPERVISOR = "training", "control-plane", "agent", "supervisor"
"""Names of processes and of their directories."""

TITLES = {TRAINING: "training platform", CONTROL_PLANE: "control plane", AGENT: "edge agent"}
"""What people call the components, in the order in which they are started."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Of one data directory."""

    data_dir: Path
    """Absolute."""

    @property
    def context(self) -> Path:
        """For programs: the same context as in the person's configuration."""
        return self.data_dir / "context.json"

    @property
    def choices(self) -> Path:
        return self.data_dir / "platform.json"

    @property
    def lock(self) -> Path:
        """Held by the `up` that is in charge."""
        return self.data_dir / "up.lock"

    @property
    def control_plane(self) -> Path:
        return self.data_dir / "control-plane"

    @property
    def edge(self) -> Path:
        """The agent's data directory."""
        return self.data_dir / "edge"

    @property
    def join_token(self) -> Path:
        return self.data_dir / "join.token"

    def process(self, name: str) -> Process:
        return Process(self.data_dir / "processes" / name)

    def training(self, choices: Choices) -> Path:
        return Path(choices.training) if choices.training else self.data_dir / "training"


@dataclass(frozen=True, slots=True)
class Component:
    """One child process."""

    name: str
    """Of its directory: `control-plane`."""
    title: str
    """For people: `control plane`."""
    argv: tuple[str, ...]
    process: Process


def components(layout: Layout, choices: Choices) -> tuple[Component, ...]:
    """All of them, in the order in which they are started."""
    ports = choices.ports
    return (
        _component(
            layout,
            TRAINING,
            *("training_platform", "serve", str(layout.training(choices))),
            *("--listen", f"{HOST}:{ports.training}", "--name", choices.context),
        ),
        _component(
            layout,
            CONTROL_PLANE,
            *("control_plane", "--data-dir", str(layout.control_plane)),
            *("--listen", f"{HOST}:{ports.api}", "--link-listen", f"{HOST}:{ports.link}"),
        ),
        _component(
            layout,
            AGENT,
            *("edge_agent", "run", "--data-dir", str(layout.edge), "--edge-server", choices.edge_server),
            *("--control-plane", f"{HOST}:{ports.link}", "--api", f"{HOST}:{ports.api}"),
            *("--join-token", str(layout.join_token)),
            *("--gateway-listen", f"{HOST}:{ports.gateway}", "--port-range", ports.positions),
        ),
    )


def _component(layout: Layout, name: str, module: str, *arguments: str) -> Component:
    return Component(name, TITLES[name], (sys.executable, "-m", module, *arguments), layout.process(name))
