"""Links 2 and 3 over TCP and mutual TLS, with certificates that the agent makes: real processes, see agent_world.py."""

import json
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from control_plane.identity.authority import AGENT_LIFE
from mesh import certificates, clock
from mesh.certificates import Life
from mesh.identity import CERTIFICATE, ROOTS
from tests import models
from tests.integration.agent_world import (
    POSITION,
    UID,
    AgentProcess,
    ControlPlane,
    assignment,
    kill,
    until,
    version,
    world,
)
from tests.integration.test_agent import Traffic, in_service, run, traffic
from tests.ports import free_port

LIFE_S = 10.0  # of a leaf: made anew after some five
LEAF_HOURS = str(LIFE_S / 3600)
BRIEF = timedelta(seconds=20)  # of what the control plane signs: it outlives a leaf only when it has just been renewed


@dataclass(frozen=True)
class Place:
    """An edge server whose links run over TLS, with one position of two replicas that is called all the time."""

    plane: ControlPlane
    agent: AgentProcess
    seen: Traffic

    @property
    def home(self) -> Path:
        return self.agent.data_dir / "positions" / UID

    def chain(self, id_: str = "monitor") -> list[x509.Certificate]:
        """As it lies on the disk: the leaf, and the agent's authority."""
        return x509.load_pem_x509_certificates((self.home / "identities" / id_ / CERTIFICATE).read_bytes())

    def trusted(self, id_: str = "monitor") -> list[x509.Certificate]:
        return x509.load_pem_x509_certificates((self.home / "identities" / id_ / ROOTS).read_bytes())

    def dials(self, path: str) -> str:
        """Where a process was told that its parent is; empty where there is none."""
        settings = self.home / path / "settings.toml"
        told = tomllib.loads(settings.read_text()) if settings.exists() else {}
        return str(told.get("agent" if path == "monitor" else "monitor", ""))

    def logged(self, path: str, event: str) -> list[dict[str, object]]:
        """Lines of a process, of all of its starts."""
        lines = (self.home / path / "log").read_text().splitlines()
        entries = [json.loads(line) for line in lines if line.startswith("{")]
        return [entry for entry in entries if entry["event"] == event]

    async def until_linked_anew(self) -> None:
        """Kills the monitor: the next one reaches the agent, and the hosts reach it, with what lies on the disk now."""
        await until(lambda: "monitor" in self.agent.pids(), self.agent)
        hosts = set(self.agent.pids("r-"))
        agents, links = len(self.logged("monitor", "agent_link")), len(self.logged("monitor", "host_link"))
        kill(self.agent.pids()["monitor"])

        def linked() -> bool:
            if len(self.logged("monitor", "agent_link")) <= agents:
                return False
            return {entry["replica"] for entry in self.logged("monitor", "host_link")[links:]} >= hosts

        await until(linked, self.agent)

    async def until_expired(self, certificate: x509.Certificate) -> None:
        await until(lambda: clock.now() > Life.of(certificate).expires, self.agent)

    async def restart_agent(self, *options: str) -> None:
        await self.agent.end()
        self.agent.options = options
        self.agent.start()


@asynccontextmanager
async def linked_over_tls(directory: Path, *, agent_life: timedelta = AGENT_LIFE) -> AsyncIterator[Place]:
    """Afterwards no call has failed."""
    graph = models.affine(directory / "affine.onnx", scale=2.0)
    async with world(directory, *over_tls(), agent_life=agent_life) as (plane, agent):
        plane.assign(assignment(version(plane, "1", graph), replicas=2))
        await in_service(plane, agent)
        async with traffic(agent) as seen:
            yield Place(plane, agent, seen)
        assert seen.total > 100
        assert seen.errors == []


def over_tls() -> tuple[str, ...]:
    return "--link-listen", f"127.0.0.1:{free_port()}", "--link-certificate-hours", LEAF_HOURS


def test_agent_monitor_and_hosts_find_one_another_over_tls_and_go_on_so_without_the_control_plane(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with linked_over_tls(tmp_path) as place:
            plane, agent = place.plane, place.agent
            replicas = agent.pids("r-")
            for path in ("monitor", *(f"hosts/{id_}" for id_ in replicas)):
                assert place.dials(path).startswith("127.0.0.1:")
            plane.watch(POSITION)
            await until(lambda: any(sample.requests for sample in plane.metrics), agent)  # up both links

            await plane.stop()
            first = {id_: place.chain(id_)[0] for id_ in ("monitor", *replicas)}
            for certificate in first.values():
                await place.until_expired(certificate)
            assert all(place.chain(id_)[0] != certificate for id_, certificate in first.items())
            await place.until_linked_anew()
            await place.restart_agent(*agent.options)
            await until(lambda: "agent_runs" in agent.log(), agent)
            await place.until_linked_anew()
            kill(replicas[min(replicas)])
            await until(lambda: len(agent.pids("r-")) == 2 and agent.pids("r-") != replicas, agent)
            await place.until_linked_anew()

            plane.reports.clear()
            await plane.start()
            await in_service(plane, agent)
            assert plane.condition("MonitorConnected") == "TRUE"

    run(scenario())


def test_links_follow_when_the_root_is_replaced(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with linked_over_tls(tmp_path, agent_life=BRIEF) as place:
            authority = place.plane.authority
            (before,) = authority.certificates
            authority.rotate(now=clock.now())
            after = authority.certificates[0]
            await until(lambda: place.trusted() == [after, before], place.agent)
            assert certificates.is_directly_under(place.chain()[1], after)
            await place.until_linked_anew()
            authority.finish_rotation()
            await until(lambda: place.trusted() == [after], place.agent)
            await place.until_linked_anew()

    run(scenario())


def test_an_agent_that_is_cut_off_until_its_authority_has_expired_vouches_for_itself_until_it_is_renewed(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with linked_over_tls(tmp_path, agent_life=BRIEF) as place:
            plane, agent = place.plane, place.agent
            roots = list(plane.authority.certificates)
            await until(lambda: place.trusted() == roots, agent)
            await plane.stop()
            await place.until_expired(place.chain()[1])
            assert [each.subject for each in place.trusted()] == [roots[0].subject, place.chain()[0].issuer]
            await place.until_linked_anew()
            await place.restart_agent(*agent.options)
            await until(lambda: "agent_runs" in agent.log(), agent)
            await place.until_linked_anew()
            await plane.start()
            await until(lambda: place.trusted() == roots, agent)
            await place.until_linked_anew()

    run(scenario())


@pytest.mark.parametrize("begins_with_tls", [True, False])
def test_the_way_of_the_links_may_be_changed_while_calls_go_on(tmp_path: Path, begins_with_tls: bool) -> None:
    async def scenario() -> None:
        graph = models.affine(tmp_path / "affine.onnx", scale=2.0)
        options = over_tls() if begins_with_tls else ()
        async with world(tmp_path, *options) as (plane, agent):
            plane.assign(assignment(version(plane, "1", graph), replicas=2))
            await in_service(plane, agent)
            before = agent.pids("r-")
            async with traffic(agent) as seen:
                place = Place(plane, agent, seen)
                await place.restart_agent(*(() if begins_with_tls else over_tls()))
                await until(lambda: len(agent.pids("r-")) == 2 and not agent.pids("r-").keys() & before, agent)
                expected = "unix:" if begins_with_tls else "127.0.0.1:"
                await until(lambda: place.dials("monitor").startswith(expected) and "monitor" in agent.pids(), agent)
                await place.until_linked_anew()
            assert seen.total > 0
            assert seen.errors == []
            assert all(place.dials(f"hosts/{id_}").startswith(expected) for id_ in agent.pids("r-"))
            assert (place.home / "identities").exists() is not begins_with_tls

    run(scenario())
