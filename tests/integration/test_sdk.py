"""Both faces of the SDK against a real gRPC server on loopback."""

import asyncio
import contextlib
import os
import re
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import waypost
from tests.waiting import wait_until
from waypost.testing import FakeModel, FakePosition

DOUBLE = FakeModel([waypost.TensorSpec("x", "FP32", (-1, 2))], lambda inputs: {"y": inputs["x"] * 2}, "v/double")
NEGATE = FakeModel([waypost.TensorSpec("x", "FP64", (-1, 2))], lambda inputs: {"z": -inputs["x"]}, "v/negate")
ECHO = FakeModel([waypost.TensorSpec("x", "UINT8", (-1,))], lambda inputs: {"y": inputs["x"]}, "v/echo")


@contextlib.contextmanager
def fake_position(model: FakeModel = DOUBLE, **options):
    with FakePosition(model, **options) as fake:
        yield fake


def connect(fake: FakePosition, **options) -> waypost.Position:
    return waypost.connect(fake.address, position=fake.name, token=fake.token, **options)


def test_plain_values_and_arrays_are_answered():
    with fake_position() as fake, connect(fake) as position:
        assert position.infer([1, 2])["y"].tolist() == [[2, 4]]
        answer = position.infer({"x": np.ones((3, 2), np.float32)})
        assert answer.output.shape == (3, 2)
        assert (answer.model_version, answer.digest) == (DOUBLE.version, DOUBLE.digest)
        assert 0 < answer.latency_s < 1
        assert position.uid == fake.uid
        assert position.signature().inputs[0].datatype == "FP32"


def test_both_faces_say_which_step_of_a_sequence_a_call_is():
    async def aio(fake: FakePosition) -> None:
        async with waypost.aio.connect(fake.address, position=fake.name, token=fake.token) as position:
            await position.infer([1, 2], sequence_id=7, sequence_end=True)

    with fake_position() as fake, connect(fake) as position:
        position.infer([1, 2], sequence_id="tower-7", sequence_start=True)
        position.infer([1, 2])
        with pytest.raises(waypost.Invalid, match="sequence_id"):
            position.infer([1, 2], sequence_end=True)
        asyncio.run(aio(fake))
        assert fake.calls["ModelInfer"] == 3
    assert fake.steps == [
        {"sequence_id": "tower-7", "sequence_start": True, "sequence_end": False},
        {"sequence_id": 7, "sequence_start": False, "sequence_end": True},
    ]


def test_a_position_may_be_named_short_or_by_its_uid():
    with fake_position() as fake:
        for name in ("test/test/test", fake.uid):
            with waypost.connect(fake.address, position=name, token=fake.token) as position:
                assert position.infer([1, 2]).output.tolist() == [[2, 4]]


def test_asyncio_answers_the_same():
    async def scenario(fake: FakePosition) -> None:
        async with waypost.aio.connect(fake.address, position=fake.name, token=fake.token) as position:
            answers = await asyncio.gather(*(position.infer([i, i]) for i in range(20)))
            assert [answer.output[0, 0] for answer in answers] == [2 * i for i in range(20)]
            assert answers[0].digest == DOUBLE.digest
        with pytest.raises(waypost.Precondition, match="is closed"):
            await position.infer([1, 2])
        position = await waypost.aio.connect(fake.address, position=fake.name, token=fake.token)
        await position.close()

    with fake_position() as fake:
        asyncio.run(scenario(fake))


def test_threads_share_one_connection():
    with fake_position() as fake, connect(fake) as position:
        seen: list[float] = []
        threads = [
            threading.Thread(target=lambda i=i: seen.append(position.infer([i, 0]).output[0, 0])) for i in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(seen) == [2 * i for i in range(16)]


def test_a_wrong_token_is_refused_at_connect():
    with fake_position() as fake, pytest.raises(waypost.Unauthenticated, match="not known here"):
        waypost.connect(fake.address, position=fake.name, token="wp1_other")


def test_an_unknown_position_is_refused_at_connect():
    with fake_position() as fake, pytest.raises(waypost.NotFound) as caught:
        waypost.connect(fake.address, position="a/b/c", token=fake.token)
    assert caught.value.reason == "UNKNOWN_POSITION"
    assert "projects/a/applications/b/positions/c" in caught.value.message


def test_a_malformed_name_is_refused_before_anything_is_sent():
    with pytest.raises(waypost.Invalid) as caught:
        waypost.connect("http://127.0.0.1:1", position="tower-7", token="t")
    assert caught.value.reason == "BAD_NAME"


def test_a_gateway_that_is_not_there_is_named_within_the_timeout():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
    started = time.monotonic()
    with pytest.raises(waypost.Unavailable, match="no gateway answers") as caught:
        waypost.connect(address, position="a/b/c", token="t", timeout=0.3)
    assert caught.value.reason == "GATEWAY_UNREACHABLE"
    assert time.monotonic() - started < 1

    async def scenario() -> None:
        with pytest.raises(waypost.Unavailable, match="no gateway answers"):
            async with waypost.aio.connect(address, position="a/b/c", token="t", timeout=0.3):
                pass

    asyncio.run(scenario())


def test_a_peer_that_never_answers_is_bounded_by_the_timeout():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises((waypost.DeadlineExceeded, waypost.Unavailable), match=address):
            waypost.connect(address, position="a/b/c", token="t", timeout=0.3)
        assert time.monotonic() - started < 1


def test_forgotten_tokens_are_exchanged_within_the_call():
    with fake_position() as fake, connect(fake) as position:
        position.infer([1, 2])
        fake.forget_tokens()
        assert position.infer([1, 2]).output.tolist() == [[2, 4]]
        assert fake.calls["Register"] == 2


def test_tokens_are_renewed_before_they_end():
    with fake_position(token_lifetime_s=1) as fake, connect(fake) as position:
        wait_until(lambda: bool(position.infer([1, 2])) and fake.calls["Renew"] > 0)
        assert fake.calls["Register"] == 1


def test_unavailable_is_retried_for_any_model():
    with fake_position(idempotent=False) as fake, connect(fake) as position:
        fake.fail("ModelInfer", *[waypost.Unavailable("HOST_DRAINING", "leaving")] * 3)
        assert position.infer([1, 2]).output.tolist() == [[2, 4]]
        assert fake.calls["ModelInfer"] == 4


def test_a_lost_answer_is_not_retried_unless_the_model_is_idempotent():
    lost = waypost.Unavailable("UNAVAILABLE", "Socket closed")
    with fake_position(idempotent=False) as fake, connect(fake) as position:
        fake.fail("ModelInfer", lost)
        with pytest.raises(waypost.Unavailable):
            position.infer([1, 2])
        assert fake.calls["ModelInfer"] == 1
    with fake_position() as fake, connect(fake) as position:
        fake.fail("ModelInfer", lost)
        position.infer([1, 2])
        assert fake.calls["ModelInfer"] == 2


def test_a_lost_answer_of_a_model_that_came_since_is_not_retried_by_what_was_said_of_the_one_before():
    lost = waypost.Unavailable("UNAVAILABLE", "Socket closed")
    with fake_position() as fake, connect(fake) as position:
        position.infer([1, 2])
        fake.idempotent = False
        fake.fail("ModelInfer", lost)
        with pytest.raises(waypost.Unavailable):
            position.infer([1, 2])
        assert (fake.calls["ModelInfer"], fake.calls["Renew"]) == (2, 1)


def test_a_gateway_that_crashes_under_a_call_costs_an_idempotent_caller_nothing():
    with fake_position(delay_s=0.2) as fake, connect(fake) as position:
        position.infer([1, 2])
        answers: list[waypost.Answer] = []
        caller = threading.Thread(target=lambda: answers.append(position.infer([1, 2])))
        caller.start()
        wait_until(lambda: fake.calls["ModelInfer"] == 2)
        fake.stop()
        fake.start()
        caller.join()
        assert answers[0].output.tolist() == [[2, 4]]


def test_a_slow_model_ends_at_the_deadline():
    with fake_position() as fake, connect(fake) as position:
        position.infer([1, 2])
        fake.delay_s = 0.5
        started = time.monotonic()
        with pytest.raises(waypost.DeadlineExceeded, match="within 100 ms"):
            position.infer([1, 2], timeout=0.1)
        assert time.monotonic() - started < 0.4


def test_a_call_gets_the_closed_loops_remaining_time():
    with fake_position() as fake, connect(fake) as position:
        position.infer([1, 2])
        fake.delay_s = 0.5
        with pytest.raises(waypost.DeadlineExceeded), position.loop(deadline_s=0.05) as loop:
            position.infer([1, 2])
        assert loop.elapsed_s < 0.4


def test_closed_loops_reach_the_monitor_at_close_at_the_latest():
    with fake_position() as fake:
        with connect(fake) as position:
            for _ in range(3):
                with position.loop(deadline_s=1.0):
                    position.infer([1, 2])
            with contextlib.suppress(ZeroDivisionError), position.loop():
                _ = 1 / 0
        assert position.loops == waypost.LoopCount(reported=4, pending=0, dropped=0)
        assert [loop.failed for loop in fake.loops] == [False, False, False, True]
        assert all(0 < loop.inference_ms <= loop.duration_ms for loop in fake.loops[:3])


def test_closed_loops_are_reported_while_the_connection_lives():
    with fake_position() as fake, connect(fake) as position:
        with position.loop():
            pass
        wait_until(lambda: len(fake.loops) == 1)


def test_asyncio_reports_loops_too():
    async def scenario(fake: FakePosition) -> None:
        async with waypost.aio.connect(fake.address, position=fake.name, token=fake.token) as position:
            with position.loop(deadline_s=1.0):
                await asyncio.gather(*(position.infer([1, 2]) for _ in range(3)))
        assert position.loops.reported == 1

    with fake_position() as fake:
        asyncio.run(scenario(fake))
        assert fake.loops[0].deadline_ms == 1000
        assert fake.loops[0].inference_ms > 0


def test_closing_does_not_wait_for_a_monitor_that_is_away():
    with fake_position() as fake:
        position = connect(fake)
        with position.loop():
            pass
        fake.stop()
        started = time.monotonic()
        position.close()
        assert time.monotonic() - started < 2.5
        assert position.loops.reported == 0


def test_a_cancelled_call_leaves_the_connection_usable():
    async def scenario(fake: FakePosition) -> None:
        async with waypost.aio.connect(fake.address, position=fake.name, token=fake.token) as position:
            await position.infer([1, 2])
            fake.delay_s = 0.3
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await position.infer([1, 2])
            fake.delay_s = 0.0
            assert (await position.infer([1, 2])).output.tolist() == [[2, 4]]

    with fake_position() as fake:
        asyncio.run(scenario(fake))


def test_another_event_loop_is_refused():
    async def make(fake: FakePosition) -> waypost.aio.Position:
        return await waypost.aio.connect(fake.address, position=fake.name, token=fake.token)

    with fake_position() as fake, asyncio.Runner() as first, asyncio.Runner() as second:
        position = first.run(make(fake))
        with pytest.raises(waypost.Precondition) as caught:
            second.run(position.infer([1, 2]))
        assert caught.value.reason == "WRONG_EVENT_LOOP"
        first.run(position.close())


def test_a_different_model_midway_is_served_without_reconnecting():
    with fake_position() as fake, connect(fake) as position:
        assert position.infer([1, 2])["y"].dtype == np.float32
        fake.model = NEGATE
        answer = position.infer([1, 2])
        assert answer["z"].tolist() == [[-1, -2]]
        assert answer["z"].dtype == np.float64
        assert (answer.model_version, answer.digest) == (NEGATE.version, NEGATE.digest)


def test_a_wrong_dtype_is_refused_without_a_call():
    with fake_position() as fake, connect(fake) as position:
        with pytest.raises(waypost.Invalid, match=re.escape("array of float64, the model takes FP32")):
            position.infer(np.ones((1, 2)))
        assert fake.calls["ModelInfer"] == 0


def test_the_limit_is_the_same_on_both_sides():
    with fake_position(ECHO) as fake, connect(fake) as position:
        almost = np.zeros((64 << 20) - 1000, np.uint8)
        assert position.infer(almost, timeout=30).output.nbytes == almost.nbytes
        with pytest.raises(waypost.Exhausted, match="the limit is 64 MiB"):
            position.infer(np.zeros(64 << 20, np.uint8))


def test_a_fork_is_refused_with_a_way_out():
    with fake_position() as fake, connect(fake) as position:
        position.infer([1, 2])
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                position.infer([1, 2])
            except waypost.Precondition as error:
                os.write(write, f"{error.reason}: {error.hint}".encode())
            position.close()
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as told:
            assert told.read().startswith("USED_AFTER_FORK: connect in the child process")
        assert os.waitpid(child, 0)[1] == 0
        assert position.infer([1, 2]).output.tolist() == [[2, 4]]


def test_a_closed_connection_says_so():
    with fake_position() as fake:
        position = connect(fake)
        position.close()
        position.close()
        with pytest.raises(waypost.Precondition, match="is closed"):
            position.infer([1, 2])


def test_no_representation_shows_a_secret():
    with fake_position() as fake, connect(fake) as position:
        for shown in (position, position.loop(), position.infer([1, 2])):
            assert fake.token not in repr(shown)
            assert "access-" not in repr(shown)


def test_the_readme_runs(monkeypatch, tmp_path):
    """Its Python blocks, one after the other, against a position that takes what they send."""
    steer = FakeModel(
        [waypost.TensorSpec("window", "FP32", (-1, 3))], lambda inputs: {"y": inputs["window"].sum(axis=1)}
    )
    text = (Path(__file__).parents[2] / "sdk/python/README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    with FakePosition(steer, name="projects/uav/applications/path-prediction/positions/tower-7") as fake:
        monkeypatch.setenv("TOKEN", fake.token)
        for block in blocks:
            exec(compile(block.replace("http://127.0.0.1:7680", fake.address), "README.md", "exec"), {})
