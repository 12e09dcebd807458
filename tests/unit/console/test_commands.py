"""Commands against a platform: what they ask, what they print, how they end."""

import hashlib
import json
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from console import contexts
from console.contexts import Context
from console.kinds import APPLICATION, EDGE_SERVER, MODEL, POSITION, PROJECT, VERSION, Kind
from tests.unit.console.conftest import Run
from tests.unit.console.fake_platform import FakePlatform
from waypost import names
from waypost.api.control.v1.credential_pb2 import (
    CreateCredentialResponse,
    Credential,
    DeleteCredentialResponse,
    ListCredentialsResponse,
)
from waypost.api.control.v1.edge_server_pb2 import EdgeServer, RevokeEdgeServerResponse
from waypost.api.control.v1.event_pb2 import Event, ListEventsResponse
from waypost.api.control.v1.position_pb2 import ReadPositionLogsResponse

TOWER = "projects/uav/applications/path/positions/tower-7"


def test_what_is_created_can_be_listed_shown_changed_and_deleted(platform: FakePlatform, waypost: Run) -> None:
    assert waypost("project", "create", "uav", "--display-name", "UAV", "--label", "site=north")[0] == 0
    code, out, _ = waypost("project", "list")
    assert code == 0
    assert out.splitlines() == ["NAME  CREATED  TITLE", "uav   -        UAV"]
    assert waypost("project", "update", "projects/uav", "--label", "a=b", "--remove-label", "site")[0] == 0
    assert dict(platform.resources["projects/uav"].labels) == {"a": "b"}
    assert platform.resources["projects/uav"].display_name == "UAV"
    assert waypost("project", "delete", "uav") == (0, "project uav deleted\n", "")
    code, _, err = waypost("project", "get", "uav")
    assert (code, err) == (3, "error: there is no projects/uav\n")


def test_json_is_protojson_with_the_names_of_the_protos(platform: FakePlatform, waypost: Run) -> None:
    project = PROJECT.new("projects/uav")
    project.display_name = "UAV"
    project.create_time.CopyFrom(Timestamp(seconds=1_700_000_000))
    platform.put(project)
    _, out, _ = waypost("project", "list", "-o", "json")
    shown = {"name": "projects/uav", "display_name": "UAV", "create_time": "2023-11-14T22:13:20Z", "etag": '"1"'}
    assert json.loads(out) == [shown]
    _, out, _ = waypost("-o", "json", "project", "get", "uav")
    assert json.loads(out) == shown


def test_lists_go_through_all_pages(platform: FakePlatform, waypost: Run) -> None:
    for number in range(5):
        platform.put(PROJECT.new(f"projects/p{number}"))
    assert len(waypost("project", "list")[1].splitlines()) == 6


def test_lists_are_narrowed_by_any_owner(platform: FakePlatform, waypost: Run) -> None:
    for project, application in (("uav", "path"), ("uav", "battery"), ("beam", "path")):
        platform.put(MODEL.new(f"projects/{project}/applications/{application}/models/lstm"))
    assert [line.split()[0] for line in waypost("model", "list", "uav")[1].splitlines()[1:]] == [
        "uav/battery/lstm",
        "uav/path/lstm",
    ]
    assert len(waypost("model", "list", "projects/uav/applications/path")[1].splitlines()) == 2
    code, _, err = waypost("model", "list", "uav/path/lstm/3")
    assert code == 2
    assert "hint: give {project}/{application} or" in err


def test_nothing_to_list_is_said_beside_the_output(platform: FakePlatform, waypost: Run) -> None:
    assert waypost("edge-server", "list") == (0, "", "no edge servers\n")
    assert waypost("edge-server", "list", "-o", "json") == (0, "[]\n", "")


def test_a_bad_name_is_refused_before_the_platform_is_asked(platform: FakePlatform, waypost: Run) -> None:
    code, _, err = waypost("position", "get", "tower-7")
    assert code == 2
    assert err.startswith("error: 'tower-7' is not the name of one of positions\n\nhint: write it as ")
    assert platform.calls == []


def test_an_update_without_changes_is_refused(platform: FakePlatform, waypost: Run) -> None:
    platform.put(EDGE_SERVER.new("edgeServers/edge-1"))
    assert waypost("edge-server", "update", "edge-1")[0] == 2


def test_an_edge_server_is_given_windows_and_software_and_loses_them(platform: FakePlatform, waypost: Run) -> None:
    platform.put(EDGE_SERVER.new("edgeServers/edge-1"))
    windows = ("--window", "sat,sun 02:30 2h Europe/Athens", "--window", "daily 04:00 30m")
    assert waypost("edge-server", "update", "edge-1", *windows, "--software-version", "0.2.0")[0] == 0
    code, out, _ = waypost("edge-server", "get", "edge-1")
    assert code == 0
    assert "software version:  0.2.0" in out
    assert "SATURDAY, SUNDAY  02:30  7200 s    Europe/Athens" in out
    assert waypost("edge-server", "update", "edge-1", "--no-windows")[0] == 0
    assert "02:30" not in waypost("edge-server", "get", "edge-1")[1]
    assert waypost("edge-server", "update", "edge-1", "--window", "at night")[0] == 2


def test_a_list_of_positions_says_what_software_they_run(platform: FakePlatform, waypost: Run) -> None:
    position = POSITION.new(TOWER)
    for software in ("0.2.0", "0.1.0", "0.2.0"):
        position.status.replicas.add(software_version=software)
    platform.put(position)
    header, row = waypost("position", "list")[1].splitlines()
    assert row[header.index("SOFTWARE") :].startswith("0.1.0, 0.2.0  ")


@pytest.mark.parametrize(
    ("noun", "kind", "name"),
    [
        ("edge-server", EDGE_SERVER, "edgeServers/edge-1"),
        ("position", POSITION, "projects/uav/applications/path/positions/tower-7"),
    ],
)
def test_changes_are_allowed_for_a_while_and_no_longer(
    platform: FakePlatform, waypost: Run, noun: str, kind: Kind, name: str
) -> None:
    platform.put(kind.new(name))
    assert waypost(noun, "allow-changes", name, "--minutes", "5") == (
        0,
        f"{kind.words} {names.short(name)} may be changed for 5 min\n",
        "",
    )
    _, request = platform.calls[-1]
    assert list(request.update_mask.paths) == ["changes_allowed_until"]
    assert "changes allowed until" in waypost(noun, "get", name)[1]
    assert waypost(noun, "allow-changes", name, "--minutes", "0")[0] == 0
    assert "changes allowed until" not in waypost(noun, "get", name)[1]


def test_a_token_is_shown_once_and_alone_on_stdout(platform: FakePlatform, waypost: Run) -> None:
    platform.answers["CreateCredential"] = lambda request: CreateCredentialResponse(secret="wp1_secret")
    code, out, err = waypost("application", "token", "create", "uav/path", "xapp-1")
    assert (code, out) == (0, "wp1_secret\n")
    assert "not shown again" in err
    method, request = platform.calls[-1]
    assert (method, request.parent, request.credential_id) == (
        "CreateCredential",
        "projects/uav/applications/path",
        "xapp-1",
    )


def test_an_edge_server_is_revoked_and_it_is_said_how_to_let_it_in_again(platform: FakePlatform, waypost: Run) -> None:
    platform.answers["RevokeEdgeServer"] = lambda request: RevokeEdgeServerResponse(
        edge_server=EdgeServer(name=request.name)
    )
    code, out, err = waypost("edge-server", "revoke", "edge-1")
    assert (code, err) == (0, "")
    assert "`waypost edge-server join-token edge-1` lets it in again" in out


def test_a_join_token_is_for_one_server_and_expires(platform: FakePlatform, waypost: Run) -> None:
    platform.answers["CreateCredential"] = lambda request: CreateCredentialResponse(
        credential=Credential(name="edgeServers/edge-1/credentials/x"), secret="wp1_join"
    )
    code, out, err = waypost("edge-server", "join-token", "edge-1")
    assert (code, out) == (0, "wp1_join\n")
    assert "waypost agent join --control-plane 127.0.0.1:7601 --token-file FILE\n" in err
    request = next(request for method, request in platform.calls if method == "CreateCredential")
    assert request.parent == "edgeServers/edge-1"
    assert request.credential.expire_time.seconds > 0


def test_a_join_token_for_a_pattern_makes_edge_servers(platform: FakePlatform, waypost: Run) -> None:
    platform.answers["CreateCredential"] = lambda request: CreateCredentialResponse(secret="wp1_join")
    code, _, err = waypost("edge-server", "join-token", "tower-*", "--uses", "50", "--expires-in-hours", "2")
    assert code == 0
    assert "--name NAME" in err
    request = next(request for method, request in platform.calls if method == "CreateCredential")
    assert (request.parent, request.credential.edge_server_pattern) == ("edgeServers/-", "tower-*")
    assert request.credential.max_uses == 50


def test_join_tokens_are_listed_and_revoked(platform: FakePlatform, waypost: Run) -> None:
    fleet = Credential(name="edgeServers/-/credentials/f", edge_server_pattern="tower-*", max_uses=50)
    fleet.join_uses.add(edge_server="edgeServers/tower-7")
    bound = Credential(name="edgeServers/edge-1/credentials/b")
    platform.answers["ListCredentials"] = lambda request: ListCredentialsResponse(credentials=[fleet, bound])
    platform.answers["DeleteCredential"] = lambda request: DeleteCredentialResponse()
    code, out, _ = waypost("edge-server", "token", "list")
    assert code == 0
    assert [line.split()[:3] for line in out.splitlines()[1:]] == [["tower-*", "f", "1/50"], ["edge-1", "b", "0/1"]]
    assert "tower-7" in out
    assert "edge-1" not in waypost("edge-server", "token", "list", "tower-*")[1]
    assert waypost("edge-server", "token", "revoke", "tower-*", "f")[0] == 0
    assert waypost("edge-server", "token", "revoke", "edge-1", "b")[0] == 0
    deleted = [request.name for method, request in platform.calls if method == "DeleteCredential"]
    assert deleted == [fleet.name, bound.name]


def test_a_model_brought_by_hand_is_uploaded_and_then_named(
    platform: FakePlatform, waypost: Run, tmp_path: Path
) -> None:
    file = tmp_path / "lstm.onnx"
    file.write_bytes(b"x" * 300_000)
    digest = "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest()
    platform.put(APPLICATION.new("projects/uav/applications/path"))
    for version in ("1", "2"):  # the model exists the second time
        assert waypost("model", "create", "uav/path/lstm", "--onnx", str(file), "--version", version)[0] == 0
    assert platform.uploads == {digest: file.read_bytes()}
    version = platform.resources["projects/uav/applications/path/models/lstm/versions/2"]
    assert [(a.path, a.digest, a.size_bytes) for a in version.artifacts] == [("model.onnx", digest, 300_000)]
    assert version.framework == "onnx"


def test_a_model_without_a_version_id_is_not_uploaded(platform: FakePlatform, waypost: Run, tmp_path: Path) -> None:
    code, _, err = waypost("model", "create", "uav/path/lstm", "--onnx", str(tmp_path / "no.onnx"))
    assert code == 2
    assert "--version 1" in err
    assert platform.calls == []


def test_a_position_update_writes_only_what_was_given(platform: FakePlatform, waypost: Run) -> None:
    position = POSITION.new(TOWER)
    position.spec.replicas.min = 2
    position.labels["site"] = "north"
    platform.put(position)
    assert waypost("position", "update", "uav/path/tower-7", "--memory", "512Mi", "--label", "a=b")[0] == 0
    stored = platform.resources[TOWER]
    assert stored.spec.replicas.min == 2
    assert stored.spec.resources.memory_bytes == 512 << 20
    assert dict(stored.labels) == {"site": "north", "a": "b"}


def test_status_shows_what_is_not_in_service_and_why(platform: FakePlatform, waypost: Run) -> None:
    position = POSITION.new(TOWER)
    position.spec.model_version = "projects/uav/applications/path/models/lstm/versions/3"
    position.status.state = 6
    position.status.message = "no host is ready"
    position.status.hint = "look at its logs"
    position.status.conditions.add(
        type="HostsReady", status=2, reason="LOAD_FAILED", message="unsupported operator Foo"
    )
    platform.put(position)
    code, out, _ = waypost("status")
    assert code == 0
    assert "uav/path/tower-7  OUT_OF_SERVICE  0/1" in out
    assert "uav/path/tower-7: no host is ready\n  HostsReady: unsupported operator Foo\n  hint: look at its logs" in out
    everything = json.loads(waypost("status", "-o", "json")[1])
    assert set(everything) == {"platform", "edge_servers", "positions", "subscriptions"}


def test_events_are_shown_newest_last(platform: FakePlatform, waypost: Run) -> None:
    events = [Event(id=i, resource=TOWER, reason="STATE_CHANGED", message=f"step {i}") for i in (3, 2, 1)]
    platform.answers["ListEvents"] = lambda request: ListEventsResponse(events=events)
    _, out, _ = waypost("events", "uav/path/tower-7", "--limit", "2")
    assert [line.split()[-1] for line in out.splitlines()] == ["MESSAGE", "2", "3"]
    assert platform.calls[-1][1].resource == TOWER


def test_logs_name_the_process_in_front_of_each_line(platform: FakePlatform, waypost: Run) -> None:
    platform.answers["ReadPositionLogs"] = lambda request: iter(
        [ReadPositionLogsResponse(source="monitor", text="a\nb\n"), ReadPositionLogsResponse(source="r-1", text="c\n")]
    )
    assert waypost("logs", "uav/path/tower-7")[1] == "monitor  a\nmonitor  b\nr-1      c\n"


def test_a_platform_that_is_away_is_named_with_the_way_to_start_it(waypost: Run) -> None:
    contexts.save(Context("away", "127.0.0.1:1", "", "wp1_x"))
    code, _, err = waypost("project", "list", "--context", "away")
    assert code == 4
    assert err.startswith(
        "error: no platform answers at 127.0.0.1:1 (context 'away')\n\nhint: is it running? `waypost up`"
    )


def test_a_wrong_token_is_said_with_the_context_it_came_from(platform: FakePlatform, waypost: Run) -> None:
    contexts.save(Context("stranger", platform.context.address, "", "wp1_other"))
    code, _, err = waypost("--context", "stranger", "project", "list")
    assert code == 1
    assert "does not accept the token of context 'stranger'" in err


def test_without_any_context_the_way_to_one_is_shown(waypost: Run) -> None:
    code, _, err = waypost("status")
    assert code == 1
    assert err == (
        "error: no platform is known here\n\n"
        "hint: start one with `waypost up`, or add one that runs elsewhere with `waypost context add`\n"
    )


def test_a_versions_trouble_shows_in_the_list(platform: FakePlatform, waypost: Run) -> None:
    version = VERSION.new("projects/uav/applications/path/models/lstm/versions/3")
    version.state = 3
    version.framework = "onnx"
    version.conditions.add(type="Checked", status=2, reason="LOAD_FAILED", message="unsupported operator Foo")
    platform.put(version)
    _, out, _ = waypost("model", "version", "list")
    assert out.splitlines()[1].split(None, 3) == [
        "uav/path/lstm/3",
        "INVALID",
        "onnx",
        "-          Checked: unsupported operator Foo",
    ]
