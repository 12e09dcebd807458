"""What is asked of a running position, through a fleet that answers what it was given."""

import pytest

from tests.unit.control_plane.services.api import EDGE_SERVER, MODEL, POSITION, VERSION, Api, with_api
from waypost.api.control.v1 import position_pb2 as pb
from waypost.api.inference.v1.inference_pb2 import ModelInferRequest
from waypost.api.link.v1.command_pb2 import InferencePiece, LogPiece, Result
from waypost.errors import Invalid, NotFound, Precondition, Unavailable


@with_api
async def test_metrics_flow_while_somebody_looks_and_no_longer(api: Api) -> None:
    await api.make_place()
    await api.make_position()
    api.fleet.figures[POSITION] = [pb.PositionMetrics(name=POSITION, requests=count) for count in (1, 2)]
    stream = api.position.WatchPositionMetrics(pb.WatchPositionMetricsRequest(name=POSITION))
    assert [answer.metrics.requests async for answer in stream] == [1, 2]
    assert api.fleet.watching == set()
    with pytest.raises(NotFound):
        async for _ in api.position.WatchPositionMetrics(pb.WatchPositionMetricsRequest(name=f"{POSITION}0")):
            pass


@with_api
async def test_logs_come_piece_by_piece(api: Api) -> None:
    await api.make_place()
    await api.make_position()
    api.fleet.answers[EDGE_SERVER] = [Result(log=LogPiece(source=s, text="line\n")) for s in ("monitor", "r-1")]
    stream = api.position.ReadPositionLogs(pb.ReadPositionLogsRequest(name=POSITION))
    assert [answer.source async for answer in stream] == ["monitor", "r-1"]
    ((server, command),) = api.fleet.asked
    assert (server, command.read_logs.position, command.read_logs.tail_lines) == (EDGE_SERVER, POSITION, 100)
    assert command.id
    assert command.time_to_live.seconds == 10
    with pytest.raises(Invalid):
        async for _ in api.position.ReadPositionLogs(pb.ReadPositionLogsRequest(name=POSITION, tail_lines=-1)):
            pass


@with_api
async def test_an_inference_is_tried_at_the_position(api: Api) -> None:
    await api.make_place()
    await api.make_position()
    api.fleet.answers[EDGE_SERVER] = [Result(inference=InferencePiece(response=b"answer", latency_ms=1.5))]
    request = pb.TryPositionRequest(name=POSITION, request=ModelInferRequest(id="1").SerializeToString())
    answer = await api.position.TryPosition(request)
    assert (answer.response, answer.latency_ms) == (b"answer", 1.5)
    request.request = b"\xff\xff"
    with pytest.raises(Invalid):
        await api.position.TryPosition(request)


@with_api
async def test_an_agent_that_is_away_is_told_as_such(api: Api) -> None:
    await api.make_place()
    await api.make_position()
    with pytest.raises(Unavailable) as refused:
        await api.position.TryPosition(pb.TryPositionRequest(name=POSITION))
    assert refused.value.reason == "AGENT_DISCONNECTED"


@with_api
async def test_a_rejection_is_cleared_by_digest(api: Api) -> None:
    await api.make_place()
    await api.connect_agent()
    made = await api.make_position()
    refused_version = pb.RejectedVersion(model_version=VERSION, digest="sha256:1", reason="START_FAILED")
    await api.report(made, rejected=[refused_version])
    api.fleet.answers[EDGE_SERVER] = []
    with pytest.raises(Precondition):
        await api.position.ClearRejection(pb.ClearRejectionRequest(name=POSITION, model_version=f"{MODEL}/versions/2"))
    await api.position.ClearRejection(pb.ClearRejectionRequest(name=POSITION, model_version=VERSION))
    ((_, command),) = api.fleet.asked
    assert (command.clear_rejected.position, command.clear_rejected.digest) == (POSITION, "sha256:1")


@with_api
async def test_an_order_whose_answer_is_lost_is_given_again_by_the_same_id(api: Api) -> None:
    await api.make_place()
    await api.connect_agent()
    made = await api.make_position()
    refused_version = pb.RejectedVersion(model_version=VERSION, digest="sha256:1", reason="START_FAILED")
    await api.report(made, rejected=[refused_version])
    api.fleet.answers[EDGE_SERVER] = []
    api.fleet.lost = 2
    await api.position.ClearRejection(pb.ClearRejectionRequest(name=POSITION, model_version=VERSION))
    assert len(api.fleet.asked) == 3
    assert len({command.id for _, command in api.fleet.asked}) == 1
