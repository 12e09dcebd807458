"""Settings of the edge agent."""

from pathlib import Path
from typing import Annotated, Literal

from mesh.serve import split_address
from mesh.settings import Bounds, Checked, Settings
from waypost.errors import MeshError

ENV_PREFIX = "WAYPOST_AGENT_"
WILDCARDS = ("0.0.0.0", "::")  # listened on, and nobody's address


def _ports(text: str) -> None:
    first, separator, last = text.partition("-")
    if not (separator and first.isdecimal() and last.isdecimal() and 0 < int(first) <= int(last) <= 65535):
        raise ValueError("write it as 7700-7799")


class AgentSettings(Settings):
    """Runs the positions of one edge server, as its control plane wants them.

    `stop-all` in the place of `run` ends everything that an agent has started in its data directory. `status`, `logs`,
    `drain`, `hold` and `resume` ask the one that runs there; `install` and `upgrade` bring other versions of it."""

    data_dir: Path = Path(".waypost/edge")
    """Directory for the ledger, artifacts, keys, and the processes' logs. One agent per directory."""

    runtime_dir: Path | None = None
    """Directory for Unix sockets, with a short path. Default: inside data_dir where that is short enough, else below
    $XDG_RUNTIME_DIR or /tmp."""

    edge_server: str = ""
    """Id of this edge server. Empty: as its join token says; otherwise the two must agree. A token for a pattern of
    names needs it: the edge server is created when its agent joins."""

    control_plane: str = ""
    """Address of the control plane's link, host:port; several with commas, which the agent goes round. Empty: as it
    says at enrolment."""

    api: str = ""
    """Address of the control plane's API, host:port, for enrolment. Empty: the first host of control_plane, one port
    below."""

    join_token: Path | None = None
    """File with the join token, `wp1_...`. Read only where this agent has no identity yet."""

    ca: Path | None = None
    """PEM file with the control plane's root, for enrolment. Empty: known by the pin in the join token."""

    driver: Literal["process"] = "process"
    """What runs monitors and hosts."""

    gateway: Literal["envoy"] = "envoy"
    """What carries the calls of xApps to the hosts."""

    gateway_listen: str = "127.0.0.1:7680"
    """ip:port of the gateway, gRPC and HTTP alike."""

    gateway_domain: str = "edge.local"
    """Domain of this edge server: `<uid>.<domain>` addresses a position."""

    gateway_certificate: Path | None = None
    """PEM chain for TLS at the gateway; a file that is replaced is taken up. Empty: plaintext, on loopback only."""

    gateway_key: Path | None = None
    """PEM key of gateway_certificate."""

    gateway_insecure: bool = False
    """Let the gateway listen beyond loopback without TLS."""

    port_range: Annotated[str, Checked(_ports)] = "7700-7799"
    """Gateway ports for positions that ask for one of their own; with link_listen, each position's monitor takes one
    too."""

    link_listen: str = ""
    """ip:port where monitors dial this agent over mutual TLS, with certificates that the agent makes for them. Hosts
    dial their monitors the same way then, at the same ip. For monitors and hosts that run on other machines. Empty:
    Unix sockets, which no other machine can reach."""

    advertise_address: str = ""
    """Name or address by which monitors and hosts reach this machine, with link_listen. Empty: the ip of that."""

    link_certificate_hours: Annotated[float, Bounds(above=0, at_most=720)] = 24.0
    """Hours that certificates for monitors and hosts live; with link_listen. They are made anew at half of that, also
    while the control plane is away."""

    drain_grace_s: Annotated[float, Bounds(at_least=0, at_most=3600)] = 30.0
    """Seconds for a host to finish what is in flight, before it is killed. Above the longest deadline of callers."""

    probe_every_s: Annotated[float, Bounds(above=0, at_most=60)] = 1.0
    """Seconds between two health checks of a host that serves."""

    probe_misses: Annotated[int, Bounds(at_least=1, at_most=100)] = 3
    """Missed health checks in a row, after which a host gets no calls."""

    hung_after_s: Annotated[float, Bounds(above=0, at_most=3600)] = 30.0
    """Seconds that a host which has served may miss its health checks, or answer them with no, before it is killed and
    started again. Long enough for a busy machine to get over it, and for other calls of that host to end."""

    artifact_bytes_max: Annotated[int, Bounds(at_least=0)] = 0
    """Bytes that fetched artifacts may take; 0: as many as the disk has."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """debug, info, warning or error; for monitors and hosts too."""

    def check(self) -> None:
        if not self.link_listen:
            return
        try:
            host, port = split_address(self.link_listen)
        except MeshError as error:
            raise ValueError(f"--link-listen: {error.message}") from None
        if not port:
            raise ValueError("--link-listen: choose a port; monitors look for the agent there after its restart")
        if host in WILDCARDS and not self.advertise_address:
            raise ValueError(
                f"--link-listen: nobody can dial {host}; say with --advertise-address where this machine is"
            )

    @property
    def ports(self) -> range:
        first, _, last = self.port_range.partition("-")
        return range(int(first), int(last) + 1)
