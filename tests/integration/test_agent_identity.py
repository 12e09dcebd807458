"""A real agent's certificate: renewed, expired, refused, replaced; nothing that serves notices. See agent_world.py."""

import asyncio
import signal
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from edge_agent.identity.enrolment import Enrolment
from edge_agent.state.ledger import Ledger
from mesh import certificates, clock
from tests import models
from tests.integration.agent_world import EDGE_SERVER, AgentProcess, ControlPlane, assignment, until, version, world
from tests.integration.test_agent import in_service, run, traffic
from waypost.errors import Denied

SHORT = timedelta(seconds=6)  # renewed after three


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return models.affine(tmp_path / "affine.onnx", scale=2.0)


def condition(plane: ControlPlane, kind: str) -> str:
    """Of the edge server: the reason, or TRUE."""
    return next((c.reason or "TRUE" for c in plane.server.conditions if c.type == kind), "")


def test_a_certificate_is_renewed_in_time_and_the_link_dials_with_it_while_calls_go_on(
    tmp_path: Path, graph: Path
) -> None:
    async def scenario() -> None:
        async with world(tmp_path, agent_life=SHORT) as (plane, agent):
            plane.assign(assignment(version(plane, "1", graph)))
            await in_service(plane, agent)
            before, pids = agent.enrolment(), agent.pids()
            async with traffic(agent) as seen:
                renewals, sessions = plane.renewals, plane.sessions
                await until(lambda: plane.renewals >= renewals + 2, agent)
                await until(lambda: plane.sessions >= sessions + 2, agent)
            after = agent.enrolment()
            assert seen.errors == []
            assert agent.pids() == pids
            assert after.identity.key != before.identity.key
            assert after.life.expires > before.life.expires
            assert condition(plane, "CertificateValid") == "TRUE"

    run(scenario())


def test_an_agent_that_was_off_for_longer_than_its_certificate_lived_serves_and_renews_when_it_can(
    tmp_path: Path, graph: Path
) -> None:
    async def scenario() -> None:
        async with world(tmp_path, agent_life=SHORT) as (plane, agent):
            plane.assign(assignment(version(plane, "1", graph)))
            await in_service(plane, agent)
            await plane.stop()
            await agent.end(signal.SIGTERM)
            await until(lambda: clock.now() > agent.enrolment().life.expires, agent)
            agent.start()
            async with traffic(agent) as seen:
                await until(lambda: "certificate_expired" in agent.log() and seen.total > 20, agent)
                plane.reports.clear()
                await plane.start()
                await in_service(plane, agent)
            assert seen.errors == []
            await until(lambda: any(event.reason == "CERTIFICATE_RENEWED" for event in plane.events), agent)
            told = next(event for event in plane.events if event.reason == "CERTIFICATE_RENEWED")
            assert told.resource == EDGE_SERVER
            assert "without a valid certificate" in told.message

    run(scenario())


def test_an_agent_that_is_refused_serves_on_knocks_seldom_and_joins_again_with_a_new_token(
    tmp_path: Path, graph: Path
) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as (plane, agent):
            plane.assign(assignment(version(plane, "1", graph)))
            await in_service(plane, agent)
            plane.refusal = Denied("EDGE_SERVER_REVOKED", "its certificates are worth nothing any more", "join again")
            await plane.stop()
            await plane.start()
            async with traffic(agent) as seen:
                await until(lambda: "renewal_failed" in agent.log() and seen.total > 100, agent)
                assert "EDGE_SERVER_REVOKED" in agent.log()
                assert plane.knocks == 1
                before, sessions = agent.enrolment(), plane.sessions
                agent.join_token.write_text(plane.join_token().replace("secret", "another"))
                await agent.end(signal.SIGTERM)
                agent.start()
                await until(lambda: plane.sessions > sessions, agent)
            assert seen.errors == []
            assert agent.enrolment().identity != before.identity
            assert agent.enrolment().joined_with != before.joined_with

    run(scenario())


def test_a_box_whose_clock_has_gone_back_serves_on_and_says_so(tmp_path: Path, graph: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as (plane, agent):
            plane.assign(assignment(version(plane, "1", graph)))
            await in_service(plane, agent)
            async with traffic(agent) as seen:
                await agent.end(signal.SIGTERM)
                Ledger(agent.data_dir / "ledger").keep_newest_time(clock.now() + 86400)
                agent.start()
                await until(lambda: condition(plane, "ClockPlausible") == "CLOCK_BEHIND", agent)
            assert seen.errors == []
            assert "clock_behind" in agent.log()

    run(scenario())


def test_an_agent_whose_clock_is_far_ahead_does_not_renew_all_the_time(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as (plane, agent):
            await agent.end(signal.SIGTERM)
            plane.behind_s = 20 * 86400.0  # more than half a life: what it signs is due at once
            agent.enrolment_file().keep(signed_anew(plane, agent))
            agent.start()
            await until(lambda: plane.renewals == 1, agent)
            await until(lambda: condition(plane, "CertificateValid") == "TRUE", agent)
            await asyncio.sleep(0.5)
            assert plane.renewals == 1

    run(scenario())


def signed_anew(plane: ControlPlane, agent: AgentProcess) -> Enrolment:
    """The agent's enrolment with a certificate that the control plane signs now, by its own clock."""
    held = agent.enrolment()
    request = certificates.request_for(certificates.read_key(held.identity.key))
    chain = plane.authority.issue(request, "edge-1", now=clock.now() - plane.behind_s)
    return replace(held, identity=replace(held.identity, certificate=chain.encode()))
