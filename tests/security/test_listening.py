"""What listens, and where: nothing beyond loopback in plaintext or without credentials, whatever it is told.

The table says how each component is asked to serve the whole network in the open; each has to refuse, in the same
words. Then the sockets of an edge server that runs are counted: whatever listens there stands in this file.
"""

import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest

from mesh.settings import dump_toml
from mesh.tokens import jwks, new_signing_key
from tests import models
from tests.integration.agent_world import POSITION, UID, AgentProcess
from tests.ports import free_port
from tests.security.edge import Edge

EVERYWHERE = "0.0.0.0:0"
WITHIN_S = 60


def training(directory: Path, edge: Edge) -> Sequence[str]:
    return "training_platform", "serve", str(directory), "--listen", EVERYWHERE


def gateway(directory: Path, edge: Edge) -> Sequence[str]:
    agent = AgentProcess(directory, edge.plane, "--gateway-listen", f"0.0.0.0:{free_port()}")
    return "edge_agent", "run", *agent.arguments


def monitor(directory: Path, edge: Edge, **settings: str) -> Sequence[str]:
    key = new_signing_key()
    (directory / "key.pem").write_bytes(key)
    (directory / "jwks.json").write_text(jwks(key))
    page = {
        "position": POSITION,
        "position_uid": UID,
        "agent": f"unix:{directory}/agent.sock",
        "listen": EVERYWHERE,
        "signing_key": str(directory / "key.pem"),
        "jwks": str(directory / "jwks.json"),
        **settings,
    }
    (directory / "settings.toml").write_text(dump_toml(page))
    return "position_monitor", "--settings", str(directory / "settings.toml")


def monitor_for_hosts(directory: Path, edge: Edge) -> Sequence[str]:
    return monitor(directory, edge, listen=f"unix:{directory}/monitor.sock", link_listen=EVERYWHERE)


def monitor_that_dials(directory: Path, edge: Edge) -> Sequence[str]:
    return monitor(directory, edge, listen=f"unix:{directory}/monitor.sock", agent="127.0.0.1:1")


def host(directory: Path, *settings: str) -> Sequence[str]:
    model = models.affine(directory / "affine.onnx", scale=2.0)
    return "inference_host", "run", str(model), *settings


def host_by_hand(directory: Path, edge: Edge) -> Sequence[str]:
    return host(directory, "--listen", EVERYWHERE)


def host_at_a_position(directory: Path, edge: Edge) -> Sequence[str]:
    known = str(edge.home(UID) / "jwks.json")
    return host(directory, "--listen", EVERYWHERE, "--position-uid", UID, "--jwks", known)


def host_with_grpcio(directory: Path, edge: Edge) -> Sequence[str]:
    known = str(edge.home(UID) / "jwks.json")
    local = ("--listen", "127.0.0.1:0", "--position-uid", UID, "--jwks", known)
    return host(directory, *local, "--grpcio-listen", EVERYWHERE)


def host_that_dials(directory: Path, edge: Edge) -> Sequence[str]:
    return host(directory, "--listen", "127.0.0.1:0", "--monitor", "127.0.0.1:1")


OPEN, NO_TLS = "reachable from other machines", "mutual TLS"
ASKED: dict[Callable[[Path, Edge], Sequence[str]], str] = {
    training: OPEN,
    gateway: OPEN,
    monitor: OPEN,
    monitor_for_hosts: NO_TLS,
    monitor_that_dials: NO_TLS,
    host_by_hand: OPEN,
    host_at_a_position: OPEN,
    host_with_grpcio: OPEN,
    host_that_dials: NO_TLS,
}


@pytest.mark.parametrize("component", ASKED, ids=lambda component: component.__name__)
def test_nobody_serves_or_links_the_network_in_the_open(
    component: Callable[[Path, Edge], Sequence[str]], edge: Edge, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", *component(tmp_path, edge)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    assert ended.returncode != 0
    assert ASKED[component] in ended.stderr
    assert "error: " in ended.stderr


def test_of_an_edge_server_only_what_is_meant_to_listens_and_only_where_it_is_meant_to(edge: Edge) -> None:
    meant = {edge.agent.gateway, edge.agent_link, *edge.monitor_links}
    processes = [psutil.Process(pid) for pid in edge.pids]
    assert len(processes) >= 6  # agent, gateway, and of each position a monitor and a host
    inet = [each for process in processes for each in process.net_connections("inet")]
    listening = [each.laddr for each in inet if each.status == psutil.CONN_LISTEN]
    assert {f"{at.ip.removeprefix('::ffff:')}:{at.port}" for at in listening} == meant
    assert not [each for each in inet if each.type.name == "SOCK_DGRAM"]


def test_sockets_and_keys_of_an_edge_server_are_closed_to_other_users(edge: Edge) -> None:
    for directory in (edge.agent.data_dir, edge.agent.data_dir / "run"):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    keys = [*edge.agent.data_dir.rglob("*key*.pem"), *edge.agent.data_dir.rglob("enrolment.json")]
    assert len(keys) >= 2 * 3 + 1  # of each position: for tokens, and for the links of monitor and host
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}
    sockets = [path for path in (edge.agent.data_dir / "run").rglob("*") if path.is_socket()]
    assert len(sockets) >= 2 * 2 + 2  # each monitor and host, the agent's two
    for path in sockets:
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
