"""Sessions with agents: what goes down arrives, what comes up is kept, who is lost is named."""

import asyncio
import random
from collections.abc import Iterable

import pytest
from structlog.testing import capture_logs

from control_plane.access.attempts import Buckets
from control_plane.conditions import timestamp
from control_plane.fleet import status as status_of
from control_plane.store import Claim, Delete, EventRow, Fence
from control_plane.store.observed_rows import POSITION_REPORT, edge_server_row, report_name
from control_plane.store.resources import EDGE_SERVER
from control_plane.store.resources import POSITION as POSITIONS
from mesh.link import DesiredState, Item
from mesh.link_core import EVENTS_MAX
from tests.sim import virtual
from tests.sim.database import Database
from tests.unit.control_plane.fleet.world import POSITION, QUICK, TOWER, Agent, World, new_fleet, world
from tests.unit.control_plane.scenario import on_virtual_time, until
from waypost.api.control.v1.condition_pb2 import CONDITION_STATUS_TRUE
from waypost.api.control.v1.edge_server_pb2 import (
    EDGE_SERVER_STATE_CONNECTED,
    EDGE_SERVER_STATE_DISCONNECTED,
    EdgeServer,
    EdgeServerStatus,
)
from waypost.api.control.v1.position_pb2 import (
    POSITION_STATE_IN_SERVICE,
    Position,
    PositionMetrics,
    PositionSpec,
    PositionStatus,
)
from waypost.api.link.v1 import link_pb2 as pb
from waypost.api.link.v1.agent_link_pb2 import EdgeServerReport, PositionReport
from waypost.api.link.v1.command_pb2 import ClearRejected, Command, ReadLogs
from waypost.errors import NotFound, Unavailable

OTHER = f"{POSITION}-2"
FOREIGN = "projects/p/applications/a/positions/foreign"
ITEM = pb.Item(name=POSITION, generation=7, body=b"spec")


async def reports(here: World) -> dict[str, PositionReport]:
    rows = await here.stores.observed.scan(POSITION_REPORT)
    return {row.name: PositionReport.FromString(row.body) for row in rows}


@on_virtual_time
async def test_a_desired_state_reaches_the_agent_and_its_acceptance_comes_back() -> None:
    async with world() as here:
        await here.edge_server()
        version = await here.desire(ITEM)
        async with here.agent() as agent:
            await until(lambda: agent.held.items.keys() == {POSITION})
            assert agent.held.version == version
            assert agent.held.incarnation == here.stores.records.incarnation

            async def is_accepted() -> bool:
                return (await here.status()).accepted_version == version

            await until(is_accepted)
            status = await here.status()
            assert (status.state, status.desired_version) == (EDGE_SERVER_STATE_CONNECTED, version)


@on_virtual_time
async def test_a_change_that_was_taken_back_counts_as_accepted_though_nothing_was_sent() -> None:
    """Found by tests/sim: desired and accepted versions differed for ever, and nobody could say why."""
    async with world() as here:
        await here.edge_server()
        first = await here.desire(ITEM)
        async with here.agent() as agent:
            await until(lambda: agent.held.version == first)
        await here.desire(ITEM, pb.Item(name=OTHER, generation=8, body=b"spec"))
        again = await here.desire(ITEM)
        async with here.agent(held=agent.held):

            async def is_accepted() -> bool:
                return (await here.status()).accepted_version == again

            await until(is_accepted)


@on_virtual_time
async def test_a_commit_wakes_the_session() -> None:
    async with world() as here:
        await here.edge_server()
        async with here.agent() as agent:
            await until(lambda: agent.epoch == 1)
            for generation in (8, 9):
                await here.desire(pb.Item(name=POSITION, generation=generation, body=b"spec"))
                await until(lambda wanted=generation: _generation(agent) == wanted)
            await here.desire()
            await until(lambda: not agent.held.items)


def _generation(agent: Agent) -> int:
    item = agent.held.items.get(POSITION)
    return item.generation if item else 0


@on_virtual_time
async def test_where_nothing_was_ever_planned_what_the_agent_holds_stands() -> None:
    async with world() as here:
        await here.edge_server()
        await here.desire(ITEM)
        async with here.agent() as agent:
            await until(lambda: bool(agent.held.items))
            await here.stores.records.commit([Delete(f"desired/{TOWER}")])
            await asyncio.sleep(5 * QUICK.heartbeat)
            assert agent.held.items


@on_virtual_time
async def test_what_the_agent_says_of_positions_is_kept_until_it_says_nothing_of_them() -> None:
    async with world() as here:
        await here.edge_server()
        async with here.agent() as agent:
            report = PositionReport(uid="u", status=PositionStatus(state=POSITION_STATE_IN_SERVICE))
            agent.link.report(POSITION, report.SerializeToString())

            async def is_kept() -> bool:
                kept = await reports(here)
                for each in kept.values():
                    each.status.ClearField("report_time")
                return kept == {report_name(TOWER, POSITION): report}

            await until(is_kept)
            agent.link.retract(POSITION)

            async def is_gone() -> bool:
                return await reports(here) == {}

            await until(is_gone)


@on_virtual_time
async def test_a_first_status_drops_what_it_does_not_name() -> None:
    async with world() as here:
        await here.edge_server()
        async with here.agent() as agent:
            agent.link.report(POSITION, PositionReport(uid="u").SerializeToString())
            agent.link.report(f"{POSITION}-2", PositionReport(uid="v").SerializeToString())

            async def are_two() -> bool:
                return len(await reports(here)) == 2

            await until(are_two)
        async with here.agent(boot_id="another") as agent:
            agent.link.report(POSITION, PositionReport(uid="u").SerializeToString())

            async def is_one() -> bool:
                return (await reports(here)).keys() == {report_name(TOWER, POSITION)}

            await until(is_one)


@on_virtual_time
async def test_an_edge_servers_report_is_merged_with_what_is_known_of_its_link() -> None:
    async with world() as here:
        await here.edge_server()
        async with here.agent() as agent:
            agent.link.report(TOWER, EdgeServerReport(agent_version="1.2", driver="process").SerializeToString())

            async def is_merged() -> bool:
                status = await here.status()
                return (status.agent_version, status.state) == ("1.2", EDGE_SERVER_STATE_CONNECTED)

            await until(is_merged)
            assert (await here.status()).connected_since_time.seconds > 0


@on_virtual_time
async def test_a_refused_item_shows_in_the_edge_server() -> None:
    async with world() as here:
        await here.edge_server()
        async with here.agent() as agent:
            agent.refused.add(POSITION)
            await here.desire(ITEM)

            async def is_told() -> bool:
                return "ITEM_REFUSED" in [judged.reason for judged in (await here.status()).conditions]

            await until(is_told)
            (item,) = (await here.status()).refused
            assert (item.position, item.reason, item.generation) == (POSITION, "TOO_NEW", ITEM.generation)
            (refused,) = [judged for judged in (await here.status()).conditions if judged.reason]
            assert "p/a/cell" in refused.message
            assert "too old" in refused.message


@on_virtual_time
async def test_a_lost_agent_is_given_up_when_its_lease_is_over_and_not_before() -> None:
    async with world() as here:
        await here.edge_server()
        async with here.agent() as agent:
            await until(lambda: agent.epoch == 1)

        async def is_lost() -> bool:
            return "LINK_LOST" in [judged.reason for judged in (await here.status()).conditions]

        await until(is_lost)
        assert (await here.status()).state == EDGE_SERVER_STATE_CONNECTED

        async def is_given_up() -> bool:
            return (await here.status()).state == EDGE_SERVER_STATE_DISCONNECTED

        await until(is_given_up)
        status = await here.status()
        assert "serves on" in status.message
        assert "cp:7601" in status.hint
        async with here.agent() as agent:
            await until(lambda: agent.epoch == 2)
            assert (await here.status()).state == EDGE_SERVER_STATE_CONNECTED


@on_virtual_time
async def test_after_a_restart_nobody_is_connected_and_who_stays_away_is_given_up() -> None:
    async with world() as here:
        await here.edge_server()
        async with here.agent():

            async def is_connected() -> bool:
                return (await here.status()).state == EDGE_SERVER_STATE_CONNECTED

            await until(is_connected)
            successor = new_fleet(here.stores)  # as the next process would be, with the row as it was
            await successor.open()
            assert _why_away(await here.status()) == "LINK_LOST"
            task = here.tasks.create_task(successor.run())

            async def is_given_up() -> bool:
                return _why_away(await here.status()) == "AGENT_LOST"

            await until(is_given_up)
            task.cancel()


@on_virtual_time
async def test_a_new_process_takes_back_what_the_one_before_said_of_a_second_agent() -> None:
    """Found by tests/sim: nobody was left who knew when that was over."""
    async with world() as here:
        await here.edge_server()
        before = status_of.doubled(EdgeServerStatus(state=EDGE_SERVER_STATE_DISCONNECTED), "a", "b", now=1.0)
        await here.stores.observed.put([edge_server_row(TOWER, before)])
        await new_fleet(here.stores).open()
        assert [judged.status for judged in (await here.status()).conditions] == [CONDITION_STATUS_TRUE]


def test_an_agent_that_another_control_plane_admits_while_others_are_given_up_is_left_to_that() -> None:
    """Found by tests/sim: its lease had been taken back meanwhile, and the process ended by a KeyError."""

    async def give_up(seed: int) -> None:
        """Three leases are over at once; while the first is written of, another control plane takes all three."""
        database = Database(random.Random(seed))
        stores = database.open()
        servers = [f"edgeServers/{name}" for name in "abc"]
        await stores.records.commit([EDGE_SERVER.encode(name, EdgeServer(name=name)) for name in servers])
        connected = EdgeServerStatus(state=EDGE_SERVER_STATE_CONNECTED)
        await stores.observed.put([edge_server_row(name, connected) for name in servers])
        fleet = new_fleet(stores)
        await fleet.open()
        async with asyncio.TaskGroup() as tasks:

            def admitted_elsewhere(names: Iterable[str]) -> None:
                database.claims.update({name: Claim(name, "theirs", 99) for name in servers})
                tasks.create_task(fleet.let_go())

            database.observes = admitted_elsewhere
            await asyncio.sleep(2 * QUICK.lease)
            life = tasks.create_task(fleet.run())
            await asyncio.sleep(3 * QUICK.lease)
            life.cancel()

    for seed in range(20):  # in which let_go comes before, between and after the writes
        virtual.run(give_up(seed))


def _why_away(status: EdgeServerStatus) -> str:
    """Reason why the agent is not connected."""
    assert status.state == EDGE_SERVER_STATE_DISCONNECTED
    return next(judged.reason for judged in status.conditions if judged.type == "AgentConnected")


@on_virtual_time
async def test_a_newer_process_supersedes_the_one_before_which_does_not_get_in_again() -> None:
    async with world() as here:
        await here.edge_server()
        async with here.agent(boot_id="first") as first:
            await until(lambda: first.epoch > 0)
            async with here.agent(boot_id="second") as second:
                await until(lambda: second.epoch > first.epoch)
                seen = first.epoch, second.epoch
                await asyncio.sleep(5 * QUICK.backoff_max)
                assert (first.epoch, second.epoch) == seen
                assert second.link.connected


@pytest.mark.parametrize("moved", [False, True], ids=["here all the time", "elsewhere in between"])
def test_what_the_session_before_said_while_the_next_one_came_is_not_forgotten(
    moved: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    @on_virtual_time
    async def run() -> None:
        async with world() as here:
            await here.edge_server()
            async with here.agent() as agent:
                await until(lambda: agent.link.connected)
                take = here.stores.claims.take

                async def taken_late(name: str, holder: str, *, above: int = 0) -> int:
                    news = status_of.reported(here.fleet.status(name), EdgeServerReport(agent_version="2"), now=2.0)
                    if moved:
                        fence = Fence(name, await take(name, "another"))
                        await here.stores.observed.put([edge_server_row(name, news, fence)])
                    else:
                        await here.fleet.judge(name, news)
                    return await take(name, holder, above=above)

                monkeypatch.setattr(here.stores.claims, "take", taken_late)
                agent.link.redial()
                await until(lambda: agent.epoch > 1 and agent.link.connected)
                assert here.fleet.status(TOWER).agent_version == "2"

    run()


@on_virtual_time
async def test_a_session_numbers_itself_above_what_the_agent_saw_last() -> None:
    async with world() as here:
        await here.edge_server()
        async with here.agent(epoch=41) as agent:  # our counter was restored from an old backup
            await until(lambda: agent.epoch == 42)


@on_virtual_time
async def test_an_agent_with_another_name_than_its_certificate_is_refused() -> None:
    async with world() as here:
        await here.edge_server()
        async with here.agent(identity="edgeServers/another") as agent:
            await until(lambda: here.refusals != [])
            assert set(here.refusals) == {"IDENTITY_MISMATCH"}
            assert agent.epoch == 0
            assert not agent.link.connected


@on_virtual_time
async def test_a_deleted_edge_server_is_forgotten() -> None:
    async with world() as here:
        await here.edge_server()
        async with here.agent() as agent:
            agent.link.report(POSITION, PositionReport(uid="u").SerializeToString())

            async def is_reported() -> bool:
                return len(await reports(here)) == 1

            await until(is_reported)
            await here.stores.records.commit([Delete(TOWER)])

            async def is_forgotten() -> bool:
                return await reports(here) == {} and not (await here.status()).state

            await until(is_forgotten)
            await until(lambda: not agent.link.connected)


@on_virtual_time
async def test_events_are_kept_once_however_often_they_come() -> None:
    async def kept(here: World, count: int) -> bool:
        return len(await here.stores.events.newest(POSITION)) == count

    async with world() as here:
        await here.edge_server()
        await here.desire(ITEM)
        # The second says again what the first said, as after a lost acknowledgement, and one thing more.
        for boot_id, reasons, count in (("boot", "ABC", 3), ("boot", "ABCD", 4), ("another", "ABC", 7)):
            async with here.agent(boot_id=boot_id) as agent:
                for reason in reasons:
                    agent.link.event(time_unix_ms=1, resource=POSITION, reason=reason, message="m", source="agent")
                await until(lambda wanted=count: kept(here, wanted))
        assert [event.reason for event in await here.stores.events.newest(POSITION)] == list("CBADCBA")


def tell(agent: Agent, resource: str, reason: str = "R", *, source: str = "agent", time_unix_ms: int = 1) -> None:
    agent.link.event(time_unix_ms=time_unix_ms, resource=resource, reason=reason, message="m", source=source)


async def told(here: World, count: int) -> list[EventRow]:
    """All events, the oldest first, as soon as there are so many."""

    async def are_kept() -> bool:
        return len(await here.stores.events.newest(limit=2000)) >= count

    await until(are_kept)
    return [*reversed(await here.stores.events.newest(limit=2000))]


@on_virtual_time
async def test_an_agent_is_heard_of_itself_and_of_its_positions_and_of_nothing_else() -> None:
    """An edge server that was taken over planted events in the projects of others."""
    async with world() as here:
        await here.edge_server()
        await here.desire(ITEM)
        home = Position(name=f"{POSITION}-home", spec=PositionSpec(edge_server=TOWER))
        stand_in = Position(name=f"{POSITION}-stand-in", spec=PositionSpec(edge_server="edgeServers/mast"))
        stand_in.spec.on_disconnect.fallback_edge_servers.append(TOWER)
        other = Position(name=OTHER, spec=PositionSpec(edge_server="edgeServers/mast"))
        await here.stores.records.commit([POSITIONS.encode(each.name, each) for each in (home, stand_in, other)])
        strange = (OTHER, "projects/p", "projects/q", "edgeServers/mast", "", "a\0", "a" * 100_000, f"{POSITION}/x")
        with capture_logs() as logs:
            async with here.agent() as agent:
                for resource in (*strange, home.name, stand_in.name, POSITION, TOWER):
                    tell(agent, resource)
                kept = await told(here, 4)
        assert [event.resource for event in kept] == [home.name, stand_in.name, POSITION, TOWER]
        (line,) = [line for line in logs if line["event"] == "events_not_kept"]
        assert (line["server"], line["foreign"], line["too_many"]) == (TOWER, len(strange), 0)


@on_virtual_time
async def test_the_last_events_of_a_position_that_has_moved_away_are_kept() -> None:
    async with world() as here:
        await here.edge_server()
        await here.desire(ITEM)
        async with here.agent() as agent:
            await until(lambda: agent.held.items.keys() == {POSITION})
        await here.desire(pb.Item(name=OTHER, generation=8, body=b"spec"))
        async with here.agent() as agent:
            tell(agent, POSITION)
            assert [event.resource for event in await told(here, 1)] == [POSITION]


@on_virtual_time
async def test_events_that_an_agent_could_not_keep_are_counted_for_people() -> None:
    """The gap was in their numbers, and nobody looked at it."""
    async with world() as here:
        await here.edge_server()
        with capture_logs() as logs:
            async with here.agent() as agent:
                await until(lambda: agent.link.connected)
                for _ in range(EVENTS_MAX + 7):  # before the writer has a turn
                    tell(agent, TOWER)
                kept = await told(here, EVENTS_MAX + 1)
        (lost,) = [event for event in kept if event.reason == "EVENTS_LOST"]
        assert (lost.resource, lost.source) == (TOWER, "control-plane")
        assert lost.message.startswith("7 events")
        assert [line["lost"] for line in logs if line["event"] == "events_lost"] == [7]


@on_virtual_time
async def test_an_agent_speaks_in_no_other_name_and_at_a_time_that_can_be() -> None:
    """One event at the end of time, and nobody could list events any more."""
    async with world() as here:
        await here.edge_server()
        async with here.agent() as agent:
            tell(agent, TOWER, source="monitor")
            tell(agent, TOWER, source="control-plane", time_unix_ms=1 << 62)
            tell(agent, TOWER, source="agent", time_unix_ms=-(1 << 62))
            kept = await told(here, 3)
        assert [event.source for event in kept] == ["monitor", "agent", "agent"]
        for event in kept:
            assert timestamp(event.time_unix_ms / 1000).ToDatetime()


@on_virtual_time
async def test_a_flood_of_events_is_bounded_across_sessions_and_counted() -> None:
    async with world() as here:
        here.fleet.heard = Buckets(10, 3600.0)
        await here.edge_server()
        with capture_logs() as logs:
            for boot_id in ("one", "two"):
                async with here.agent(boot_id=boot_id) as agent:
                    for number in range(30):
                        tell(agent, TOWER, f"R{number}")
                    await until(lambda: not agent.link._core._events)  # all are acknowledged
        kept = await here.stores.events.newest()
        assert [event.reason for event in reversed(kept)] == [f"R{number}" for number in range(10)]
        assert sum(line["too_many"] for line in logs if line["event"] == "events_not_kept") == 50


@pytest.mark.parametrize("boot_id", ["", "a\0", "ä", "a" * 101])
def test_a_process_that_says_no_id_is_not_let_in(boot_id: str) -> None:
    """Events are known by it, so that none is kept twice."""

    @on_virtual_time
    async def refused() -> None:
        async with world() as here:
            await here.edge_server()
            with capture_logs() as logs:
                async with here.agent(boot_id=boot_id) as agent:
                    await until(lambda: any("names no process" in str(line.get("why")) for line in logs))
                    assert not agent.link.connected

    refused()


@on_virtual_time
async def test_a_report_on_what_has_no_name_keeps_no_other_from_being_written() -> None:
    """On PostgreSQL; and what could not be written waited for the next time, with all others."""
    async with world() as here:
        await here.edge_server()
        await here.edge_server("edgeServers/mast")
        with capture_logs() as logs:
            async with here.agent() as spoilt, here.agent("edgeServers/mast") as other:
                spoilt.link.report("a\0", PositionReport(uid="u").SerializeToString())
                await until(lambda: any("no name" in str(line.get("why")) for line in logs))
                other.link.report(POSITION, PositionReport(uid="u").SerializeToString())

                async def is_reported() -> bool:
                    return list(await reports(here)) == [report_name("edgeServers/mast", POSITION)]

                await until(is_reported)
        await here.fleet.rows.flush()


@on_virtual_time
async def test_commands_are_answered_by_the_agent() -> None:
    async with world() as here:
        await here.edge_server()
        logs = Command(id="1", read_logs=ReadLogs(position=POSITION))
        with pytest.raises(Unavailable) as away:
            [piece async for piece in here.fleet.command(TOWER, logs)]
        assert away.value.reason == "AGENT_DISCONNECTED"
        async with here.agent() as agent:
            await until(lambda: agent.epoch == 1)
            pieces = [piece async for piece in here.fleet.command(TOWER, logs)]
            assert [piece.log.text for piece in pieces] == ["line 0\n", "line 1\n"]
            clear = Command(id="2", clear_rejected=ClearRejected(position=POSITION))
            with pytest.raises(NotFound) as refused:
                [piece async for piece in here.fleet.command(TOWER, clear)]
            assert refused.value.reason == "NOT_REJECTED"


@on_virtual_time
async def test_figures_reach_whoever_watches_and_interest_goes_down_only_meanwhile() -> None:
    async with world() as here:
        await here.edge_server()
        await here.desire(ITEM)
        async with here.agent() as agent:
            await until(lambda: bool(agent.held.items))
            watch = here.fleet.metrics(POSITION, TOWER)
            first = here.tasks.create_task(anext(watch))
            await until(lambda: frozenset({POSITION}) in agent.interests)
            agent.link.sample(PositionMetrics(name=FOREIGN, requests=7, window_ms=1000).SerializeToString())
            agent.link.sample(PositionMetrics(name=POSITION, requests=5, window_ms=1000).SerializeToString())
            assert (await first).requests == 5
            await watch.aclose()
            await until(lambda: agent.interests[-1] == frozenset())
        await here.fleet.close()
        (minute,) = await here.stores.minutes.query(POSITION, since_minute=0, until_minute=1 << 40)
        assert PositionMetrics.FromString(minute.body).requests == 5
        assert not await here.stores.minutes.query(FOREIGN, since_minute=0, until_minute=1 << 40)


@on_virtual_time
async def test_a_second_agent_with_the_same_identity_is_refused_and_the_edge_server_says_so() -> None:
    async with world() as here:
        await here.edge_server()
        async with here.agent(boot_id="original") as original, here.agent(boot_id="clone") as clone:

            async def is_told() -> bool:
                return "DUPLICATE_IDENTITY" in [judged.reason for judged in (await here.status()).conditions]

            await until(is_told)
            assert [original.link.connected, clone.link.connected].count(True) <= 1


@pytest.mark.parametrize("planned", [True, False], ids=["planned-empty", "never-planned"])
@on_virtual_time
async def test_what_an_agent_holds_of_another_store_goes_only_when_somebody_says_that_it_is_meant(
    planned: bool,
) -> None:
    """Found by tests/sim: where the backup knew of no plan for it, it served on for ever, and nobody was told."""
    before = DesiredState.of("a store that was lost", 9, [Item(POSITION, 4, b"")])
    async with world() as here:
        await here.edge_server()
        if planned:
            await here.desire()
        async with here.agent(held=before) as agent:

            async def is_told() -> bool:
                return "PRUNE_REFUSED" in [judged.reason for judged in (await here.status()).conditions]

            await until(is_told)
            assert agent.held == before
            stored = await here.stores.records.read(TOWER)
            assert stored is not None
            confirmed = EDGE_SERVER.decode(stored)
            confirmed.confirmed_incarnation = here.stores.records.incarnation
            await here.stores.records.commit([EDGE_SERVER.encode(TOWER, confirmed)])
            await until(lambda: not agent.held.items)

            async def is_content() -> bool:
                return not [judged.reason for judged in (await here.status()).conditions if judged.reason]

            await until(is_content)


# ---- revocation ------------------------------------------------------------------------------------------------------


async def revoke(here: World, at: float) -> None:
    revoked = EdgeServer(name=TOWER)
    revoked.revoke_time.FromMilliseconds(round(at * 1000))
    await here.stores.records.commit([EDGE_SERVER.encode(TOWER, revoked)])


@on_virtual_time
async def test_a_revoked_agent_is_cut_off_and_let_in_with_a_later_certificate_only() -> None:
    async with world() as here:
        await here.edge_server()
        async with here.agent() as agent:
            await until(lambda: agent.link.connected)
            await revoke(here, here.issued + 0.5)
            await until(lambda: not agent.link.connected)

            async def is_shown() -> bool:
                return (await here.status()).message.startswith("revoked at ")

            await until(is_shown)
            status = await here.status()
            assert status.state == EDGE_SERVER_STATE_DISCONNECTED
            assert {each.type: each.reason for each in status.conditions}["AgentConnected"] == "AGENT_REVOKED"
            assert "waypost edge-server join-token tower" in status.hint
            epoch = agent.epoch
            await asyncio.sleep(3 * QUICK.lease)
            assert (agent.link.connected, agent.epoch) == (False, epoch)
            assert (await here.status()).message == status.message  # its lease does not run out besides
            here.issued += 1
            await until(lambda: agent.link.connected)
            await here.edge_server("edgeServers/another")
            await until(lambda: agent.link.connected)
