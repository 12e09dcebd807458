"""xApps call a position while control planes are killed in turns, in the middle of deployments: no call is lost."""

import asyncio
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from tests import models, postgres
from tests.e2e.load import Load
from tests.integration.agent_world import AgentProcess, ControlPlane
from tests.integration.control_plane_process import ControlPlaneProcess, make_application, make_edge_server, until
from tests.integration.test_control_plane import EDGE_SERVER, is_judged, make_version, scenario, version
from tests.integration.test_several_control_planes import Pair, States, pair
from waypost import names
from waypost.api.control.v1 import (
    credential_pb2,
    credential_pb2_grpc,
    edge_server_pb2,
    position_pb2,
    position_pb2_grpc,
)

if not postgres.SERVER:
    pytest.skip("no PostgreSQL server is named; `make test-postgres` starts one", allow_module_level=True)

__all__ = ["pair"]  # the fixture


@dataclass
class Joining:
    """What an AgentProcess needs to know of the control planes that it joins."""

    api: str
    token: str

    def join_token(self) -> str:
        return self.token


async def position(plane: ControlPlaneProcess, name: str) -> position_pb2.Position:
    async with plane.channel() as channel:
        stub = position_pb2_grpc.PositionServiceStub(channel)
        return (await stub.GetPosition(position_pb2.GetPositionRequest(name=name))).position


def serves(wanted: str) -> Any:
    def is_so(found: position_pb2.Position) -> bool:
        serving = {each.model_version for each in found.status.serving}
        return found.status.state == position_pb2.POSITION_STATE_IN_SERVICE and serving == {wanted}

    return is_so


async def deploy(channel: Any, name: str, model_version: str) -> None:
    spec = position_pb2.PositionSpec(model_version=model_version, edge_server=EDGE_SERVER)
    request = position_pb2.UpdatePositionRequest(
        position=position_pb2.Position(name=name, spec=spec), allow_missing=True
    )
    request.update_mask.paths.extend(["spec.model_version", "spec.edge_server"])
    await position_pb2_grpc.PositionServiceStub(channel).UpdatePosition(request)


@scenario
async def test_on_postgres_no_call_is_lost_while_control_planes_are_killed_during_deployments(
    pair: Pair,
    tmp_path: Path,
) -> None:
    async with pair.one.channel() as channel:
        joining = Joining(pair.one.api, await make_edge_server(channel, "tower"))
        application = await make_application(channel)
        scales = {}
        for number, scale in (("1", 2.0), ("2", 3.0)):
            onnx = models.affine(tmp_path / f"{number}.onnx", scale=scale)
            scales[await make_version(channel, application, number, onnx)] = scale
        for each in scales:
            await until(lambda each=each: version(pair.one, each), is_judged)
        name = f"{application}/positions/cell"
        await deploy(channel, name, next(iter(scales)))
        made = await credential_pb2_grpc.CredentialServiceStub(channel).CreateCredential(
            credential_pb2.CreateCredentialRequest(parent=application, credential_id="xapp")
        )
    edge = AgentProcess(tmp_path, cast(ControlPlane, joining), "--control-plane", pair.links)
    edge.start()
    try:
        await until(lambda: position(pair.one, name), serves(next(iter(scales))), every_s=0.1)
        states = States()
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(states.watch(pair))
            with Load(edge.gateway, names.short(name), made.secret, scales=scales) as load:
                await asyncio.to_thread(load.wait_for, 50)
                versions = itertools.cycle([*scales][::-1])
                for victim in (pair.one, pair.two, pair.one, pair.two):
                    survivor, wanted = pair.other(victim), next(versions)
                    async with survivor.channel() as channel:
                        killing = tasks.create_task(asyncio.to_thread(victim.kill))
                        await deploy(channel, name, wanted)
                        await killing
                    await until(lambda s=survivor: position(s, name), serves(wanted), every_s=0.1)
                    await asyncio.to_thread(victim.start)
                await asyncio.to_thread(load.wait_for, 50)
            watching.cancel()
        assert load.failures == []
        assert load.wrong == []
        assert load.answers.keys() == scales.keys()
        assert states.seen == {edge_server_pb2.EDGE_SERVER_STATE_CONNECTED}
    except BaseException as error:
        error.add_note(edge.logs())
        raise
    finally:
        await edge.end()
        await asyncio.to_thread(edge.stop_all)
