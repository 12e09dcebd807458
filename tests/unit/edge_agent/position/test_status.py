"""A status is never empty and never a lie, whatever is known of a position."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.failure import Failure
from edge_agent.model_version import Version
from edge_agent.position.diff import Entry, Phase, Replica, Route, Wanted, shape
from edge_agent.position.picture import HostView, MonitorView, Picture, Proof, label
from edge_agent.position.status import status_of
from waypost.api.control.v1 import position_pb2 as pb
from waypost.api.control.v1.condition_pb2 import CONDITION_STATUS_FALSE, CONDITION_STATUS_TRUE
from waypost.api.link.v1.monitor_link_pb2 import Verdict

V1 = Version("projects/p/applications/a/models/gru/versions/1", "sha256:1")
V2 = Version("projects/p/applications/a/models/gru/versions/2", "sha256:2")
BROKEN = Failure("LOAD_FAILED", "the model cannot be loaded", "publish another version")


def host(id_: str, version: Version = V1, phase: Phase = Phase.READY, **more: object) -> HostView:
    built = HostView(Replica(id_, shape(version.digest, ""), version.digest, phase), version, starts=1)
    return replace(built, **more)  # type: ignore[arg-type]


def route(*hosts: HostView) -> Route:
    return Route(tuple(Entry(view.replica.id, view.replica.shape, 100) for view in hosts))


def picture(wanted: Version = V1, **more: object) -> Picture:
    """In service with one replica of version 1, unless told otherwise."""
    served = host("r-a")
    built = Picture(
        generation=1,
        wanted=Wanted(wanted, 1, 1),
        hosts=(served,),
        fetched=frozenset({V1.digest}),
        live=route(served),
        proof=Proof(1, frozenset({shape(V1.digest, "")})),
        monitor=MonitorView(connected=True),
        served_generation=1,
        endpoint=pb.Endpoint(gateway="http://127.0.0.1:7680"),
    )
    return replace(built, **more)  # type: ignore[arg-type]


def state(seen: Picture) -> str:
    return pb.PositionState.Name(status_of(seen, None, 0).state).removeprefix("POSITION_STATE_")


def condition(seen: Picture, kind: str) -> str:
    """The reason, or TRUE."""
    return next(c.reason or "TRUE" for c in status_of(seen, None, 0).conditions if c.type == kind)


def first(**more: object) -> Picture:
    """A first deployment of which nothing is here yet."""
    nothing: dict[str, object] = {
        "hosts": (),
        "fetched": frozenset(),
        "live": Route(),
        "proof": None,
        "monitor": MonitorView(connected=False),
        "served_generation": 0,
    }
    return picture(**{**nothing, **more})


# --- laws -----------------------------------------------------------------------------------------------------------

failures = st.none() | st.just(BROKEN)
views = st.builds(
    host,
    st.sampled_from(["r-a", "r-b", "r-c"]),
    st.sampled_from([V1, V2]),
    st.sampled_from(Phase),
    failure=failures,
)
hosts = st.lists(views, unique_by=lambda view: view.replica.id, max_size=3).map(tuple)
pictures = st.builds(
    Picture,
    generation=st.integers(1, 2),
    wanted=st.builds(Wanted, st.sampled_from([V1, V2]), st.integers(1, 2), st.just(2), deleting=st.booleans()),
    hosts=hosts,
    fetched=st.frozensets(st.sampled_from([V1.digest, V2.digest])),
    fetch_failures=st.dictionaries(st.sampled_from([V1.digest]), st.just(BROKEN)),
    live=hosts.map(lambda chosen: route(*chosen)),
    acknowledged=st.booleans(),
    route_failure=failures,
    refusal=failures,
    proof=st.none()
    | st.builds(Proof, st.integers(1, 2), st.just(frozenset({"sha256:1/", "sha256:2/"})), failure=failures),
    monitor=st.builds(MonitorView, st.booleans(), st.booleans(), failures),
    verdicts=st.lists(st.just(Verdict(digest=V2.digest, reason="START_FAILED")), max_size=1).map(tuple),
    served_generation=st.integers(0, 2),
)


@given(pictures)
def test_every_status_says_something(seen: Picture) -> None:
    status = status_of(seen, None, 1.0)
    assert status.state != pb.POSITION_STATE_UNSPECIFIED
    assert status.message
    assert [condition.type for condition in status.conditions] == [
        "ArtifactReady",
        "HostsReady",
        "RouteReady",
        "MonitorConnected",
        "ChangesApplied",
    ]
    for condition in status.conditions:
        assert condition.status in (CONDITION_STATUS_TRUE, CONDITION_STATUS_FALSE)
        assert (condition.status == CONDITION_STATUS_TRUE) == (condition.reason == "")
        assert bool(condition.message) == bool(condition.reason)


@given(pictures)
def test_in_service_is_only_said_of_what_was_proved(seen: Picture) -> None:
    if state(seen) == "IN_SERVICE":
        assert seen.proof is not None
        assert seen.proof.failure is None
        assert seen.proof.generation == seen.generation
        assert seen.routed(seen.wanted_shape) >= seen.wanted.replicas_min
        assert not seen.refusal
        assert not status_of(seen, None, 0).hint


@given(pictures)
def test_a_route_is_only_ready_when_calls_can_reach_nobody_who_does_not_answer(seen: Picture) -> None:
    if condition(seen, "RouteReady") == "TRUE":
        assert seen.acknowledged
        assert {view.replica.id for view in seen.hosts if view.ready} >= seen.live.replicas != frozenset()


@given(pictures)
def test_what_does_not_answer_is_never_said_to_serve(seen: Picture) -> None:
    if not seen.answers and not seen.wanted.deleting:
        assert state(seen) in ("OUT_OF_SERVICE", "DEPLOYING")


# --- examples -------------------------------------------------------------------------------------------------------


def test_a_first_deployment_tells_its_way() -> None:
    ready = host("r-a")
    starting = host("r-a", phase=Phase.STARTING)
    fetched = {"fetched": frozenset({V1.digest})}
    steps = [
        first(),
        first(**fetched, hosts=(starting,)),
        first(**fetched, hosts=(ready,)),
        first(**fetched, hosts=(ready,), live=route(ready)),
        first(**fetched, hosts=(ready,), live=route(ready), proof=Proof(1, frozenset({ready.replica.shape}))),
    ]
    assert {state(step) for step in steps} == {"DEPLOYING"}
    assert [status_of(step, None, 0).message for step in steps] == [
        "gru/1 is being fetched",
        "0 of 1 replicas of gru/1 are ready",
        "gru/1 is ready and waits for its route",
        "gru/1 is ready and waits for the position's monitor",
        "gru/1 is ready and waits for the position's monitor",
    ]
    assert state(replace(steps[-1], monitor=MonitorView(connected=True))) == "IN_SERVICE"


def test_the_endpoint_is_told_when_there_is_one() -> None:
    assert not status_of(first(), None, 0).HasField("endpoint")
    assert status_of(picture(), None, 0).endpoint.gateway == "http://127.0.0.1:7680"


def test_a_first_deployment_that_fails_is_out_of_service_with_the_reason_and_a_hint() -> None:
    failed = first(fetched=frozenset({V1.digest}), hosts=(host("r-a", phase=Phase.ENDED, failure=BROKEN, starts=3),))
    status = status_of(failed, None, 0)
    assert state(failed) == "OUT_OF_SERVICE"
    assert status.message == "a replica of gru/1 does not run (start 3): the model cannot be loaded"
    assert status.hint == "publish another version"
    assert (status.replicas[0].state, status.replicas[0].reason) == (pb.REPLICA_STATE_FAILED, "LOAD_FAILED")


def test_a_source_that_is_away_does_not_put_a_position_out_of_service() -> None:
    away = Failure("SOURCE_UNREACHABLE", "it cannot be fetched")
    assert state(first(fetch_failures={V1.digest: away})) == "DEPLOYING"
    assert state(first(fetch_failures={V1.digest: BROKEN})) == "OUT_OF_SERVICE"


def test_a_new_version_is_an_update_and_a_rejected_one_a_degradation() -> None:
    updating = picture(V2, generation=2)
    assert state(updating) == "UPDATING"
    assert status_of(updating, None, 0).message == "gru/1 answers with 1 replica; gru/2 is being fetched"
    rejected = replace(updating, verdicts=(Verdict(digest=V2.digest, reason="START_FAILED", evidence="3 starts"),))
    assert state(rejected) == "DEGRADED"
    assert "gru/2 was rejected here (START_FAILED: 3 starts)" in status_of(rejected, None, 0).message


def test_the_death_of_a_host_degrades_and_the_death_of_all_ends_the_service() -> None:
    killed = Failure("KILLED", "its process was killed")
    two = Wanted(V1, 2, 2)
    dead, alive = host("r-a", phase=Phase.ENDED, failure=killed), host("r-b")
    assert state(picture(hosts=(dead, alive), live=route(alive))) == "IN_SERVICE"
    assert state(replace(picture(hosts=(dead, alive), live=route(alive)), wanted=two)) == "DEGRADED"
    assert state(picture(hosts=(dead,), live=Route())) == "OUT_OF_SERVICE"


def test_a_host_that_hangs_is_in_the_route_until_the_gateway_says_otherwise() -> None:
    hung, alive = host("r-a", phase=Phase.SILENT), host("r-b")
    degraded = picture(hosts=(hung, alive), live=route(hung, alive))
    assert condition(degraded, "RouteReady") == "ROUTE_CHANGING"
    assert condition(replace(degraded, acknowledged=False), "RouteReady") == "ROUTE_CHANGING"
    assert condition(replace(degraded, live=route(alive), acknowledged=False), "RouteReady") == "ROUTE_CHANGING"
    assert condition(replace(degraded, live=route(alive)), "RouteReady") == "TRUE"
    assert condition(replace(degraded, hosts=(hung,), live=route(hung)), "RouteReady") == "NO_HOSTS"


def test_a_monitor_that_restarts_is_not_missed_and_one_that_stays_away_is() -> None:
    assert state(picture(monitor=MonitorView(connected=False))) == "IN_SERVICE"
    missed = picture(monitor=MonitorView(connected=False, missed=True))
    assert state(missed) == "DEGRADED"
    assert "xApps that are registered are served" in status_of(missed, None, 0).message


def test_a_failing_probe_ends_the_service_whatever_the_health_checks_say() -> None:
    failing = picture(proof=Proof(1, frozenset({shape(V1.digest, "")}), failure=BROKEN))
    assert state(failing) == "OUT_OF_SERVICE"


def test_a_condition_keeps_its_time_until_its_status_changes() -> None:
    before = status_of(picture(), None, 100.0)
    same = status_of(picture(generation=1), before, 200.0)
    assert {condition.since.seconds for condition in same.conditions} == {100}
    changed = status_of(picture(monitor=MonitorView(connected=False)), before, 300.0)
    assert [condition.since.seconds for condition in changed.conditions] == [100, 100, 100, 300, 100]


def test_weights_and_ready_replicas_of_each_version_are_told() -> None:
    one, two = host("r-a"), host("r-b", V2)
    live = Route((Entry("r-a", one.replica.shape, 90), Entry("r-b", two.replica.shape, 10)))
    serving = status_of(picture(V2, generation=2, hosts=(one, two), live=live), None, 0).serving
    assert [(s.model_version, s.weight, s.replicas_ready) for s in serving] == [(V1.name, 90, 1), (V2.name, 10, 1)]


def test_versions_are_called_by_model_and_version() -> None:
    assert label(V1) == "gru/1"
