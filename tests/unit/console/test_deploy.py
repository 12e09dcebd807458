"""`waypost deploy`: what it writes, and how it waits."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from console.kinds import EDGE_SERVER, POSITION, VERSION
from tests.unit.console.conftest import Run
from tests.unit.console.fake_platform import FakePlatform

TOWER = "projects/uav/applications/path/positions/tower-7"
LSTM_3 = "projects/uav/applications/path/models/lstm/versions/3"


@pytest.fixture
def edge(platform: FakePlatform) -> FakePlatform:
    """A platform with an edge server and a version that may be deployed."""
    platform.put(EDGE_SERVER.new("edgeServers/edge-1"))
    version = VERSION.new(LSTM_3)
    version.state = 2
    platform.put(version)
    return platform


def asked(platform: FakePlatform, method: str) -> Any:
    return [request for name, request in platform.calls if name == method][-1]


@contextmanager
def meanwhile(platform: FakePlatform, *states: dict[str, Any]) -> Iterator[None]:
    """An edge that reports these states, one after the other, once the position was written."""

    def report() -> None:
        for state in states:
            platform.wait_for(TOWER)
            platform.say(TOWER, lambda position, state=state: set_status(position, **state))

    thread = threading.Thread(target=report)
    thread.start()
    yield
    thread.join()


def set_status(position: Any, **fields: Any) -> None:
    position.status.Clear()
    position.status.observed_generation = position.generation
    for name, value in fields.items():
        if name in ("conditions", "rejected"):
            getattr(position.status, name).add(**value)
        else:
            setattr(position.status, name, value)


def test_only_what_was_said_is_in_the_mask(edge: FakePlatform, waypost: Run) -> None:
    assert waypost("deploy", "uav/path/lstm/3", "--position", "tower-7", "--replicas", "2")[0] == 0
    request = asked(edge, "UpdatePosition")
    assert list(request.update_mask.paths) == ["spec.model_version", "spec.edge_server", "spec.replicas"]
    assert request.allow_missing
    assert request.position.name == TOWER
    assert request.position.spec.model_version == LSTM_3
    assert waypost("deploy", "uav/path/lstm/3", "--position", "uav/path/tower-7", "--max-replicas", "4")[0] == 0
    request = asked(edge, "UpdatePosition")
    assert list(request.update_mask.paths) == ["spec.model_version", "spec.replicas.max"]
    spec = edge.resources[TOWER].spec
    assert (spec.edge_server, spec.replicas.min, spec.replicas.max) == ("edgeServers/edge-1", 2, 4)


def test_a_new_position_without_a_place_goes_to_the_only_edge_server_there_is(edge: FakePlatform, waypost: Run) -> None:
    edge.put(EDGE_SERVER.new("edgeServers/edge-2"))
    code, _, err = waypost("deploy", "uav/path/lstm/3", "--position", "tower-7")
    assert code == 2
    assert "say --edge-server NAME; there are edge-1, edge-2" in err


def test_waiting_shows_the_states_passed_through_and_ends_in_service(edge: FakePlatform, waypost: Run) -> None:
    with meanwhile(edge, {"state": 2, "message": "starting"}, {"state": 3, "message": "1 of 1 ready"}):
        code, out, err = waypost("deploy", "uav/path/lstm/3", "--position", "tower-7", "--wait")
    assert code == 0
    lines = err.splitlines()
    assert lines[0] == "uav/path/tower-7: uav/path/lstm/3 at edge-1, generation 1"
    assert [line.split()[2] for line in lines[1:]] == ["PENDING", "DEPLOYING", "IN_SERVICE"]
    assert out.startswith("gateway:")


def test_the_result_for_programs_is_one_json_object(edge: FakePlatform, waypost: Run) -> None:
    with meanwhile(edge, {"state": 3, "message": "ready"}):
        code, out, _ = waypost("deploy", "uav/path/lstm/3", "--position", "tower-7", "--wait", "-o", "json")
    result = json.loads(out)
    assert code == 0
    assert result["outcome"] == "arrived"
    assert result["position"]["status"]["state"] == "POSITION_STATE_IN_SERVICE"
    assert result["states"][-1]["state"] == "IN_SERVICE"


def test_a_refused_version_ends_the_wait_with_the_evidence(edge: FakePlatform, waypost: Run) -> None:
    rejected = {"model_version": LSTM_3, "reason": "START_FAILED", "evidence": "three starts failed: no such operator"}
    with meanwhile(edge, {"state": 3, "message": "the version before serves on", "rejected": rejected}):
        code, _, err = waypost("deploy", "uav/path/lstm/3", "--position", "tower-7", "--wait")
    assert code == 1
    assert "error: uav/path/lstm/3 was refused at uav/path/tower-7: three starts failed: no such operator" in err
    assert "`waypost position clear-rejection uav/path/tower-7 uav/path/lstm/3`" in err


def test_what_does_not_arrive_in_time_says_how_far_it_got(edge: FakePlatform, waypost: Run) -> None:
    code, out, err = waypost(
        "deploy", "uav/path/lstm/3", "--position", "tower-7", "--wait", "--timeout", "1", "-o", "json"
    )
    assert code == 5
    assert "uav/path/tower-7 is not in service after 1 s: it is PENDING: no agent has taken it yet" in err
    assert json.loads(out)["reason"] == "NOT_IN_TIME"


def test_waiting_begins_with_the_import_of_the_version(edge: FakePlatform, waypost: Run) -> None:
    edge.say(LSTM_3, lambda version: setattr(version, "state", 1))

    def check() -> None:
        edge.wait_for_watcher()
        edge.say(LSTM_3, lambda version: setattr(version, "state", 2))

    thread = threading.Thread(target=check)
    thread.start()
    with meanwhile(edge, {"state": 3, "message": "ready"}):
        code, _, err = waypost("deploy", "uav/path/lstm/3", "--position", "tower-7", "--wait")
    thread.join()
    assert code == 0
    assert err.startswith("uav/path/lstm/3 is being imported\n")


def test_a_version_that_failed_its_check_is_never_deployed(edge: FakePlatform, waypost: Run) -> None:
    def fail(version: Any) -> None:
        version.state = 3
        version.conditions.add(type="Checked", status=2, reason="LOAD_FAILED", message="unsupported operator Foo")

    edge.say(LSTM_3, fail)
    code, _, err = waypost("deploy", "uav/path/lstm/3", "--position", "tower-7", "--wait")
    assert (code, TOWER in edge.resources) == (1, False)
    assert err.startswith("error: unsupported operator Foo\n\nhint: mend the model")


def test_a_version_that_does_not_exist_is_said_after_it_had_time_to_be_published(
    edge: FakePlatform, waypost: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("console.cli.deploy.PUBLISHED_S", 0.2)
    assert waypost("deploy", "uav/path/lstm/4", "--position", "tower-7", "--wait")[0] == 3
    assert POSITION.parse("uav/path/tower-7") not in edge.resources


def test_targets_are_written_as_a_whole(edge: FakePlatform, waypost: Run) -> None:
    arguments = ("--scale-on", "queue-time=2.5ms", "--scale-on", "cpu=70%", "--scale-on", "concurrency=4")
    assert waypost("deploy", "uav/path/lstm/3", "--position", "uav/path/tower-7", *arguments)[0] == 0
    request = asked(edge, "UpdatePosition")
    assert request.update_mask.paths[-1] == "spec.autoscaling.targets"
    targets = request.position.spec.autoscaling.targets
    assert (targets.queue_time.ToMicroseconds(), targets.cpu, targets.concurrency) == (2500, 0.7, 4.0)


@pytest.mark.parametrize("text", ["latency=5ms", "queue-time=5", "cpu", "cpu=much", "queue-time=5min"])
def test_what_cannot_be_scaled_on_is_refused_with_what_can(edge: FakePlatform, waypost: Run, text: str) -> None:
    code, _, errors = waypost("deploy", "uav/path/lstm/3", "--position", "uav/path/tower-7", "--scale-on", text)
    assert code != 0
    assert text in errors
    assert "queue-time=5ms" in errors
