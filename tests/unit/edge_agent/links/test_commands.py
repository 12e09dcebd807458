"""Commands on behalf of people: logs, one inference, clearing a rejection. And what the uplink keeps and refuses."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edge_agent.links import commands as commands_module
from edge_agent.links.commands import Commands
from edge_agent.links.uplink import Uplink
from edge_agent.reconcile.supervise import Supervisor
from edge_agent.state.solitude import Solitude
from mesh.link import DesiredState, Item, WireLost
from tests.unit.edge_agent.rig import POSITION, UID, Rig, assignment, decision, model_version, moment, run
from waypost.api.inference.v1.inference_pb2 import ModelInferRequest
from waypost.api.link.v1.command_pb2 import ClearRejected, Command, ReadLogs, RenewCertificate, Result, TryInference
from waypost.errors import Invalid, MeshError, NotFound, Unavailable, Unsupported


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


@asynccontextmanager
async def serving(rig: Rig) -> AsyncIterator[Commands]:
    async with rig.agent() as supervisor:
        rig.assign(assignment())
        await rig.until_state("IN_SERVICE")
        yield commands_of(supervisor)


def commands_of(supervisor: Supervisor, renew: Callable[[], None] = lambda: None) -> Commands:
    return Commands(supervisor._parts, supervisor.assignment, supervisor.wake, renew)


async def pieces(commands: Commands, command: Command) -> list[Result]:
    return [piece async for piece in commands.answer(command)]


async def refused(commands: Commands, command: Command) -> MeshError:
    with pytest.raises(MeshError) as caught:
        await pieces(commands, command)
    return caught.value


def test_logs_of_every_process_come_in_pieces(rig: Rig) -> None:
    async def scenario() -> None:
        async with serving(rig) as commands:
            found = await pieces(commands, Command(read_logs=ReadLogs(position=POSITION)))
            assert [piece.log.source for piece in found] == ["monitor", *rig.running()]
            assert "started 1 times" in found[0].log.text
            error = await refused(commands, Command(read_logs=ReadLogs(position="elsewhere")))
            assert (type(error), error.reason) == (NotFound, "NOT_HERE")

    run(scenario())


def test_an_inference_goes_through_the_gateway_by_the_served_name(rig: Rig) -> None:
    async def scenario() -> None:
        async with serving(rig) as commands:
            before = rig.probes
            body = ModelInferRequest(id="x").SerializeToString()
            (piece,) = await pieces(commands, Command(try_inference=TryInference(position=POSITION, request=body)))
            assert piece.inference.latency_ms >= 0
            assert rig.probes == before + 1
            broken = Command(try_inference=TryInference(position=POSITION, request=b"\xff"))
            assert isinstance(await refused(commands, broken), Invalid)
            rig.gateway.die()
            again = Command(try_inference=TryInference(position=POSITION, request=body))
            assert isinstance(await refused(commands, again), Unavailable)

    run(scenario())


def test_an_answer_that_the_link_cannot_carry_is_refused(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would end the session: the control plane takes no message of that size."""
    monkeypatch.setattr(commands_module, "ANSWER_BYTES_MAX", -1)  # the answer here has no byte

    async def scenario() -> None:
        async with serving(rig) as commands:
            body = ModelInferRequest(id="x").SerializeToString()
            large = Command(try_inference=TryInference(position=POSITION, request=body))
            assert (await refused(commands, large)).reason == "ANSWER_TOO_LARGE"

    run(scenario())


def test_a_rejection_that_is_cleared_lets_the_version_run_again(rig: Rig) -> None:
    async def scenario() -> None:
        async with serving(rig) as commands:
            rig.assign(assignment("2", generation=2))
            rig.decide(decision(1, ("1", 1, 100), rejected=("2",)))
            await rig.until_state("DEGRADED")
            clear = Command(id="1", clear_rejected=ClearRejected(position=POSITION, digest=model_version("2").digest))
            assert await pieces(commands, clear) == []
            assert await pieces(commands, clear) == [], "the same command once more"
            held = rig.ledger.decision(UID)
            assert held is not None
            assert (held.number, list(held.verdicts), len(held.shares)) == (2, [], 1)
            await rig.until_state("UPDATING")
            assert rig.monitors.orders[POSITION].decision.number == 2
            clear.id = "2"
            error = await refused(commands, clear)
            assert (type(error), error.reason) == (NotFound, "NOT_REJECTED")

    run(scenario())


def test_a_command_of_a_newer_control_plane_is_refused(rig: Rig) -> None:
    async def scenario() -> None:
        async with serving(rig) as commands:
            assert isinstance(await refused(commands, Command(id="1")), Unsupported)

    run(scenario())


def test_the_uplink_keeps_what_can_be_read_and_refuses_the_rest(rig: Rig) -> None:
    async def scenario() -> None:
        changed = asyncio.Event()
        async with rig.agent() as supervisor:
            uplink = Uplink(
                rig.ledger,
                Solitude(None, rig.ledger.keep_alone, moment),
                edge_server="edgeServers/e",
                boot_id="b",
            )
            uplink.serve(
                commands_of(supervisor),
                desired_changed=changed.set,
                connected=lambda: None,
                interest=lambda names, pace_s: None,
            )
            good = Item(POSITION, 1, assignment().SerializeToString())
            assert uplink.refuse(good) is None
            assert isinstance(uplink.refuse(Item(POSITION, 1, b"\xff")), Invalid)
            await uplink.keep(DesiredState.of("store-1", 7, [good]))
            assert changed.is_set()
            assert rig.ledger.desired.version == 7
            await uplink.keep_epoch(5)
            assert rig.ledger.epoch == 5

    run(scenario())


def test_without_a_control_plane_nothing_that_is_said_waits(rig: Rig) -> None:
    async def scenario() -> None:
        async def dial() -> object:
            raise WireLost("no route")

        uplink = Uplink(
            rig.ledger,
            Solitude(None, rig.ledger.keep_alone, moment),
            edge_server="edgeServers/e",
            boot_id="b",
        )
        uplink.open(dial, random.Random(1))  # type: ignore[arg-type]
        async with asyncio.TaskGroup() as tasks:
            life = tasks.create_task(uplink.run())
            for number in range(2000):
                uplink.event(POSITION, "STATE_CHANGED", str(number))
                uplink.sample(b"figures")
            uplink.retract(POSITION)
            await asyncio.sleep(100)
            life.cancel()

    run(scenario())


def test_a_renewal_is_begun_once_for_each_command(rig: Rig) -> None:
    async def scenario() -> None:
        begun: list[str] = []
        async with rig.agent() as supervisor:
            commands = commands_of(supervisor, lambda: begun.append("renewal"))
            for id_ in ("1", "1", "2"):
                assert await pieces(commands, Command(id=id_, renew_certificate=RenewCertificate())) == []
        assert begun == ["renewal", "renewal"]

    run(scenario())
