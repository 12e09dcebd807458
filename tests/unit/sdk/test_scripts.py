"""The rules for tokens, signatures, retries and deadlines, played on a clock of their own without a socket."""

import random
from collections import deque

import numpy as np
import pytest

from waypost._calls import RENEW_AGAIN_S, Target
from waypost._core import SIGNATURE_PACE_S, SequenceStep, Session
from waypost._steps import Call, Pause, Reply
from waypost.api.inference.v1 import inference_pb2
from waypost.api.xapp.v1 import access_pb2
from waypost.errors import (
    RETRY_AFTER,
    DeadlineExceeded,
    Exhausted,
    Internal,
    Invalid,
    MeshError,
    NotFound,
    Unauthenticated,
    Unavailable,
)
from waypost.rpc import MESSAGE_BYTES_MAX

POSITION = "projects/p/applications/a/positions/x"
DRAINING = Unavailable("HOST_DRAINING", "this host is leaving")  # a Waypost server said it
BUSY = Unavailable("QUEUE_FULL", "others wait already", **{RETRY_AFTER: "300"})
BROKEN = Unavailable("UNAVAILABLE", "Socket closed")  # grpc said it


class World:
    """Answers calls from a list per method, on a clock that moves as told."""

    def __init__(self, *, idempotent: bool = True) -> None:
        self.now = 1000.0
        self.calls: list[tuple[float, str, Call]] = []
        self.pauses: list[float] = []
        self.tokens = 0
        self.idempotent = idempotent
        self.datatype = "FP32"
        self.digest = "sha256:1"
        self.digest_asked: str | None = None
        """Of the model that is asked what it takes, where another one answers."""
        self.answers: dict[str, deque[MeshError | float]] = {}
        target = Target("http://gateway", POSITION, "wp1_secret", "test")
        self.session = Session(target, lambda: self.now, random.Random(1))
        self.play(self.session.register(5.0))

    def next(self, method: str, *answers: MeshError | float) -> None:
        """What the next calls of a method meet: an error, or an answer after so many seconds."""
        self.answers.setdefault(method, deque()).extend(answers)

    def infer(self, inputs=(1.0, 2.0), timeout_s: float = 5.0, step: SequenceStep | None = None):
        return self.play(self.session.infer(inputs, timeout_s, step))

    def methods(self) -> list[str]:
        return [method for _, method, _ in self.calls]

    def play(self, script):
        reply = error = None
        try:
            while True:
                step = script.send(reply) if error is None else script.throw(error)
                reply = error = None
                try:
                    reply = self.perform(step)
                except MeshError as failed:
                    error = failed
        except StopIteration as end:
            return end.value

    def perform(self, step: Call | Pause) -> Reply | None:
        if isinstance(step, Pause):
            self.now += step.seconds
            self.pauses.append(step.seconds)
            return None
        method = step.rpc.path.rpartition("/")[2]
        self.calls.append((self.now, method, step))
        answer = self.answers[method].popleft() if self.answers.get(method) else 0.0
        if isinstance(answer, MeshError):
            raise answer
        if answer > step.timeout_s:
            self.now += step.timeout_s
            raise DeadlineExceeded("DEADLINE_EXCEEDED", "Deadline Exceeded")
        self.now += answer
        asked = method == "ModelMetadata" and self.digest_asked is not None
        headers = {
            "waypost-model-digest": self.digest_asked if asked else self.digest,
            "waypost-model-version": "v1",
            "waypost-position-generation": "7",
        }
        return Reply(getattr(self, method)(step.request), headers)

    def Register(self, request):  # noqa: N802
        self.tokens += 1
        return access_pb2.RegisterResponse(
            access_token=f"t{self.tokens}", expires_in_s=600, position_uid="u", model="m", idempotent=self.idempotent
        )

    def Renew(self, request):  # noqa: N802
        self.tokens += 1
        return access_pb2.RenewResponse(access_token=f"t{self.tokens}", expires_in_s=600, idempotent=self.idempotent)

    def ReportLoops(self, request):  # noqa: N802
        return access_pb2.ReportLoopsResponse(accepted=len(request.loops))

    def ModelMetadata(self, request):  # noqa: N802
        answer = inference_pb2.ModelMetadataResponse(name=request.name)
        answer.inputs.add(name="x", datatype=self.datatype, shape=[-1, 2])
        return answer

    def ModelInfer(self, request):  # noqa: N802
        if request.inputs[0].datatype != self.datatype:
            raise Invalid("WRONG_DATATYPE", f"the model takes {self.datatype}")
        answer = inference_pb2.ModelInferResponse(model_name=request.model_name)
        answer.outputs.add(name="y", datatype=self.datatype, shape=request.inputs[0].shape)
        answer.raw_output_contents.append(request.raw_input_contents[0])
        return answer


def test_an_answer_says_what_answered():
    world = World()
    world.next("ModelInfer", 0.02)
    answer = world.infer()
    assert answer["y"].tolist() == [[1.0, 2.0]]
    assert answer.output.tolist() == [[1.0, 2.0]]
    assert (answer.model_version, answer.digest, answer.generation) == ("v1", "sha256:1", 7)
    assert answer.latency_s == pytest.approx(0.02)
    assert dict(answer) == answer.outputs


def test_the_signature_is_fetched_once():
    world = World()
    world.infer()
    world.infer()
    assert world.methods() == ["Register", "ModelMetadata", "ModelInfer", "ModelInfer"]


def test_every_call_names_position_and_token_but_register_sends_none():
    world = World()
    world.infer()
    first, *others = [call.metadata for _, _, call in world.calls]
    assert first == (("waypost-position", POSITION),)
    assert set(others) == {(("waypost-position", POSITION), ("authorization", "Bearer t1"))}


def test_what_was_not_executed_is_repeated_with_growing_pauses():
    world = World(idempotent=False)
    world.infer()
    world.next("ModelInfer", *[DRAINING] * 4)
    world.infer()
    assert world.methods().count("ModelInfer") == 6
    assert [pause <= bound for pause, bound in zip(world.pauses, (0.05, 0.1, 0.2, 0.4), strict=True)] == [True] * 4


def test_a_host_that_says_when_to_come_back_is_not_asked_before():
    world = World(idempotent=False)
    world.infer()
    world.next("ModelInfer", BUSY, BUSY)
    world.infer()
    assert [0.3 <= pause <= 0.3 + jitter for pause, jitter in zip(world.pauses, (0.05, 0.1), strict=True)] == [True] * 2


def test_who_cannot_wait_for_so_long_hears_it_at_once():
    world = World()
    world.infer()
    world.next("ModelInfer", BUSY)
    started = world.now
    with pytest.raises(Unavailable, match="others wait already") as refused:
        world.infer(timeout_s=0.2)
    assert world.now == started
    assert refused.value.reason == "QUEUE_FULL"


@pytest.mark.parametrize("said", ["", "soon", "-5", "1e3", "²"])
def test_what_is_no_time_asks_for_none(said):
    world = World()
    world.infer()
    world.next("ModelInfer", Unavailable("QUEUE_FULL", "full", **{RETRY_AFTER: said}))
    world.infer()
    assert world.pauses[0] <= 0.05


@pytest.mark.parametrize(("id_", "field"), [("tower-7", "string_param"), (7, "int64_param")])
def test_a_step_of_a_sequence_says_so(id_, field):
    world = World()
    world.infer(step=SequenceStep.of(id_, True, False))
    request = inference_pb2.ModelInferRequest.FromString(world.calls[-1][2].request.SerializeToString())
    said = {name: (given.WhichOneof("parameter_choice"), given) for name, given in request.parameters.items()}
    assert said["sequence_id"][0] == field
    assert getattr(said["sequence_id"][1], field) == id_
    assert (said["sequence_start"][1].bool_param, said["sequence_end"][1].bool_param) == (True, False)


def test_a_call_of_no_sequence_has_no_parameters():
    world = World()
    world.infer(step=SequenceStep.of(None, False, False))
    assert not world.calls[-1][2].request.parameters


@pytest.mark.parametrize(("id_", "start"), [(None, True), (1.5, False), (True, False), (2**63, False)])
def test_a_sequence_that_cannot_be_named_is_refused_before_anything_is_sent(id_, start):
    with pytest.raises(Invalid, match="sequence_id is"):
        SequenceStep.of(id_, start, False)


def test_a_broken_connection_is_repeated_only_where_that_harms_nothing():
    idempotent, not_idempotent = World(), World(idempotent=False)
    idempotent.infer()
    not_idempotent.infer()
    idempotent.next("ModelInfer", BROKEN, Internal("INTERNAL", "Received RST_STREAM with error code 2"))
    not_idempotent.next("ModelInfer", BROKEN)
    idempotent.infer()
    with pytest.raises(Unavailable, match="Socket closed"):
        not_idempotent.infer()


def test_what_was_lost_is_not_repeated_if_the_position_has_another_model_by_now():
    world = World()
    world.infer()
    world.idempotent, world.digest = False, "sha256:2"  # nobody has heard an answer of it
    world.next("ModelInfer", BROKEN)
    with pytest.raises(Unavailable, match="Socket closed"):
        world.infer()
    assert world.methods()[-2:] == ["ModelInfer", "Renew"]
    world.next("ModelInfer", BROKEN)
    with pytest.raises(Unavailable, match="Socket closed"):
        world.infer()
    assert world.methods()[-1] == "ModelInfer"  # it is known now, and not asked for each call


def test_what_was_lost_is_not_repeated_while_nobody_can_say_whether_it_may_be():
    world = World()
    world.infer()
    world.next("ModelInfer", BROKEN)
    world.next("Renew", *[DRAINING] * 1000)
    started = world.now
    with pytest.raises(Unavailable, match="Socket closed"):
        world.infer(timeout_s=0.5)
    assert world.now - started <= 0.5
    assert world.methods().count("ModelInfer") == 2


@pytest.mark.parametrize("now", [True, False])
def test_a_renewed_token_says_anew_whether_calls_may_be_repeated(now):
    world = World(idempotent=not now)
    world.infer()
    world.idempotent = now
    world.now += 401
    world.infer()
    assert world.session.caller.granted.idempotent is now


def test_a_call_that_left_for_a_model_not_heard_of_before_is_not_repeated_until_it_is_asked_for():
    world = World()
    world.infer()
    world.digest = "sha256:2"
    world.infer()  # its answer tells
    world.next("ModelInfer", BROKEN)
    with pytest.raises(Unavailable, match="Socket closed"):
        world.infer()
    world.infer()
    assert world.methods()[-3:] == ["ModelInfer", "Renew", "ModelInfer"]
    world.next("ModelInfer", BROKEN)
    world.infer()


@pytest.mark.parametrize("text", ["failed to connect to all addresses; last error: ...", "no healthy upstream"])
def test_a_connection_never_made_executed_nothing(text):
    world = World(idempotent=False)
    world.infer()
    world.next("ModelInfer", Unavailable("UNAVAILABLE", text))
    world.infer()


def test_retries_end_with_the_deadline_and_say_why():
    world = World()
    world.infer()
    world.next("ModelInfer", *[DRAINING] * 100)
    started = world.now
    with pytest.raises(Unavailable, match="this host is leaving"):
        world.infer(timeout_s=0.5)
    assert world.now - started <= 0.5


def test_an_errors_answer_is_not_repeated():
    world = World()
    world.infer()
    world.next("ModelInfer", Internal("MODEL_FAILED", "division by zero"))
    with pytest.raises(Internal, match="division by zero"):
        world.infer()
    assert world.methods().count("ModelInfer") == 2


def test_each_attempt_gets_what_is_left_of_the_time():
    world = World()
    world.infer()
    world.next("ModelInfer", DRAINING)
    world.infer(timeout_s=0.5)
    first, second = world.calls[-2:]
    assert first[2].timeout_s == pytest.approx(0.5)
    assert second[2].timeout_s == pytest.approx(0.5 - world.pauses[-1])


def test_a_late_answer_names_position_gateway_and_time():
    world = World()
    world.infer()
    world.next("ModelInfer", 9.0)
    with pytest.raises(DeadlineExceeded, match=rf"{POSITION} at http://gateway gave no answer within 200 ms"):
        world.infer(timeout_s=0.2)


def test_a_gateway_without_the_position_says_so():
    world = World()
    world.next("ModelMetadata", NotFound("NOT_FOUND", ""))
    with pytest.raises(NotFound) as caught:
        world.infer()
    assert caught.value.reason == "UNKNOWN_POSITION"


def test_a_gateway_that_is_not_there_is_named():
    world = World()
    world.next("ModelMetadata", *[Unavailable("UNAVAILABLE", "failed to connect to all addresses")] * 100)
    with pytest.raises(Unavailable, match="no gateway answers at http://gateway") as caught:
        world.infer(timeout_s=0.3)
    assert caught.value.reason == "GATEWAY_UNREACHABLE"


def test_tokens_are_renewed_after_two_thirds_of_their_life():
    world = World()
    world.infer()
    world.now += 399
    world.infer()
    assert "Renew" not in world.methods()
    world.now += 2
    world.infer()
    world.infer()
    assert world.methods().count("Renew") == 1
    assert dict(world.calls[-1][2].metadata)["authorization"] == "Bearer t2"


def test_a_renewal_that_hangs_costs_a_quarter_of_the_call_and_harms_nobody():
    world = World()
    world.infer()
    world.now += 401
    world.next("Renew", 60.0)
    assert world.infer(timeout_s=0.4).latency_s == pytest.approx(0.1)
    world.infer()
    assert world.methods().count("Renew") == 1
    world.now += RENEW_AGAIN_S
    world.infer()
    assert world.methods().count("Renew") == 2


def test_only_one_call_renews_at_a_time():
    world = World()
    world.infer()
    world.now += 401
    other = world.session.infer([1.0, 2.0], 5.0)
    assert next(other).rpc.path.endswith("Renew")
    world.infer()
    assert "Renew" not in world.methods()
    other.close()
    world.infer()
    assert "Renew" in world.methods()


def test_an_ended_token_is_replaced_before_the_call():
    world = World()
    world.infer()
    world.now += 601
    world.infer()
    assert world.methods()[-2:] == ["Register", "ModelInfer"]


def test_a_refused_token_is_exchanged_once():
    world = World()
    world.infer()
    world.next("ModelInfer", Unauthenticated("BAD_TOKEN", "unknown key"))
    world.infer()
    assert world.methods()[-3:] == ["ModelInfer", "Register", "ModelInfer"]
    world.next("ModelInfer", *[Unauthenticated("BAD_TOKEN", "unknown key")] * 2)
    with pytest.raises(Unauthenticated):
        world.infer()
    assert world.methods()[-3:] == ["ModelInfer", "Register", "ModelInfer"]


def test_the_exchange_of_a_token_never_outlasts_the_call():
    world = World()
    world.infer()
    world.next("ModelInfer", Unauthenticated("BAD_TOKEN", "unknown key"))
    world.next("Register", 60.0)
    started = world.now
    with pytest.raises(DeadlineExceeded):
        world.infer(timeout_s=0.3)
    assert world.now - started == pytest.approx(0.3)


def test_a_wrong_application_token_is_not_tried_again():
    world = World()
    world.next("Register", Unauthenticated("BAD_TOKEN", "not known here"))
    with pytest.raises(Unauthenticated):
        world.play(world.session.register(5.0))
    assert world.methods() == ["Register", "Register"]


def test_a_model_that_takes_other_inputs_is_noticed_by_its_refusal():
    world = World()
    world.infer()
    world.datatype, world.digest = "FP64", "sha256:2"
    assert world.infer()["y"].dtype == np.float64
    assert world.methods()[-3:] == ["ModelInfer", "ModelMetadata", "ModelInfer"]


def test_an_array_for_the_new_model_is_not_refused_by_the_old_signature():
    world = World()
    world.infer()
    world.datatype = "FP64"
    assert world.infer(np.zeros((1, 2)))["y"].dtype == np.float64


def test_inputs_that_no_model_here_takes_are_refused_before_anything_is_sent():
    world = World()
    with pytest.raises(Invalid) as caught:
        world.infer(np.zeros((1, 2)))
    assert caught.value.reason == "WRONG_DATATYPE"
    assert "ModelInfer" not in world.methods()


def test_a_new_digest_makes_the_next_call_look_but_not_every_call():
    world = World()
    world.infer()
    world.digest = "sha256:2"
    world.infer()
    world.infer()
    assert world.methods()[-3:] == ["ModelInfer", "ModelMetadata", "ModelInfer"]
    for turn in range(20):  # a canary: the old and the new one in turn
        world.digest = f"sha256:{1 + turn % 2}"
        world.infer()
    assert world.methods().count("ModelMetadata") == 2


def test_a_new_model_that_others_are_asked_for_costs_one_look_a_second():
    world = World()
    world.infer()
    world.digest, world.digest_asked = "sha256:2", "sha256:1"  # a canary: most often the old one is met
    for _ in range(20):
        world.infer()
    assert world.methods().count("ModelMetadata") == 2
    world.now += SIGNATURE_PACE_S
    world.infer()
    assert world.methods().count("ModelMetadata") == 3


def test_while_the_new_model_cannot_be_asked_the_old_signature_goes_on():
    world = World()
    world.infer()
    world.digest = "sha256:2"
    world.infer()
    world.next("ModelMetadata", 60.0)
    assert world.infer(timeout_s=0.4).latency_s == pytest.approx(0.1)


def test_a_request_beyond_the_limit_is_refused_before_it_is_sent():
    world = World()
    rows = MESSAGE_BYTES_MAX // 8 + 1
    with pytest.raises(Exhausted, match="the limit is 64 MiB at SDK, gateway and host alike"):
        world.infer(np.zeros((rows, 2), np.float32))
    assert "ModelInfer" not in world.methods()


def test_loops_that_did_not_reach_the_monitor_wait_and_lost_ones_are_counted():
    from waypost.loop import LoopCount, LoopRecord

    world = World()
    session = world.session
    session.loops.add(LoopRecord(0.01, 0.001, 0, False))
    world.next("ReportLoops", *[DRAINING] * 100)
    world.play(session.report(0.2))
    assert session.loops.count() == LoopCount(0, 1, 0)
    world.answers.clear()
    world.next("ReportLoops", BROKEN)
    world.play(session.report(0.2))
    assert session.loops.count() == LoopCount(0, 0, 1)
    session.loops.add(LoopRecord(0.01, 0.001, 0, False))
    world.play(session.report(0.2))
    assert session.loops.count() == LoopCount(1, 0, 1)


def test_nothing_shows_a_secret():
    world = World()
    assert "secret" not in repr(world.session.target)
    assert "t1" not in repr(world.session.caller.access)
