"""gRPC over HTTP/2 as a peer sees it: what a call gets, how it ends, and what a peer that misbehaves gets."""

import asyncio
import gc
import gzip
import random
import traceback
from dataclasses import replace

import pytest

from inference_host.transport import connections, h2
from inference_host.transport.h2_calls import MESSAGE_S_MAX, TAKE_S_MAX
from inference_host.transport.h2_streaming import TURN_MESSAGES_MAX, UNSENT_BYTES_MAX
from inference_host.transport.h2_unary import LATE_S
from inference_host.transport.message_buffer import ALIGNMENT_BYTES, LARGE_BYTES
from mesh import tokens
from tests.unit.inference_host.h2_bench import Bench, run
from tests.unit.inference_host.transports import deliver
from waypost.errors import Invalid, Unsupported
from waypost.rpc import MESSAGE_BYTES_MAX
from waypost.wire import ErrorCode
from waypost.wire.messages import pack, prefix
from waypost.wire.status import Status

LARGE = bytes(range(256)) * (LARGE_BYTES >> 7)  # twice as large as large


# -- unary calls


def test_a_call_is_answered_with_its_trailers() -> None:
    async def scenario(bench: Bench) -> None:
        call = bench.ask("/now", b"hello")
        assert (call.http_status, call.status, call.messages, call.ended) == (200, Status.OK, [b"hello"], True)
        assert call.fields[b"model"] == b"affine/1"
        assert call.fields[b"server-timing"] == b"total;dur=0.1"

    run(scenario)


def test_calls_that_came_together_are_answered_in_one_write() -> None:
    async def scenario(bench: Bench) -> None:
        calls = [bench.call("/now", prefix(1), b"%d" % number) for number in range(8)]
        before = bench.transport.writes
        bench.exchange()
        assert [call.messages for call in calls] == [[b"%d" % number] for number in range(8)]
        assert bench.transport.writes == before + 1

    run(scenario)


def test_calls_that_are_answered_later_leave_together_when_they_are_settled() -> None:
    async def scenario(bench: Bench) -> None:
        calls = [bench.ask("/later", b"%d" % number) for number in range(8)]
        before = bench.transport.writes
        for body, _, reply in bench.methods.waiting:
            reply.send([b"answer to ", body])
        assert bench.transport.writes == before
        bench.service.outbox.flush()
        assert bench.transport.writes == before + 1
        bench.exchange()
        assert [call.messages for call in calls] == [[b"answer to %d" % number] for number in range(8)]

    run(scenario)


def test_an_answer_that_somebody_will_settle_costs_no_turn_of_the_loop() -> None:
    async def scenario(bench: Bench) -> None:
        call = bench.ask("/settles")
        bench.methods.waiting[0][2].send([b"answer"])
        await bench.turns()
        assert not call.ended
        bench.service.outbox.flush()
        bench.exchange()
        assert call.messages == [b"answer"]

    run(scenario)


def test_an_answer_that_nobody_settles_leaves_in_the_next_turn() -> None:
    async def scenario(bench: Bench) -> None:
        call = bench.ask("/later")
        bench.methods.waiting[0][2].send([b""])
        await bench.turns()
        assert call.status == Status.OK

    run(scenario)


def test_an_error_is_trailers_only_and_keeps_its_reason() -> None:
    async def scenario(bench: Bench) -> None:
        call = bench.ask("/later")
        bench.methods.waiting[0][2].fail(Invalid("WRONG", "it is 100 % wrong: é", "right it"))
        await bench.turns()
        assert (call.http_status, call.status, call.reason) == (200, Status.INVALID_ARGUMENT, "WRONG")
        assert call.fields[b"grpc-message"] == b"it is 100 %25 wrong: %C3%A9"
        assert call.fields[b"content-type"] == b"application/grpc"

    run(scenario)


def test_a_fault_of_ours_tells_nothing_of_itself() -> None:
    async def scenario(bench: Bench) -> None:
        call = bench.ask("/fails")
        assert (call.status, call.fields[b"grpc-message"]) == (Status.INTERNAL, b"internal error")

    run(scenario)


def test_a_second_word_of_a_method_is_not_heard() -> None:
    async def scenario(bench: Bench) -> None:
        call = bench.ask("/later")
        reply = bench.methods.waiting[0][2]
        reply.send([b"first"])
        reply.send([b"second"])
        reply.fail(Invalid("LATE", "late"))
        await bench.turns()
        assert (call.status, call.messages) == (Status.OK, [b"first"])

    run(scenario)


def test_an_unknown_method_is_unimplemented() -> None:
    async def scenario(bench: Bench) -> None:
        assert bench.ask("/nowhere").status == Status.UNIMPLEMENTED

    run(scenario)


@pytest.mark.parametrize(
    ("pairs", "status"),
    [
        (
            ((b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/now"), (b"content-type", b"application/grpc")),
            405,
        ),
        (((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/now")), 415),
        (((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/now"), (b"content-type", b"text/plain")), 415),
    ],
)
def test_what_is_not_grpc_gets_an_answer_of_http(pairs: tuple[tuple[bytes, bytes], ...], status: int) -> None:
    async def scenario(bench: Bench) -> None:
        call = bench.call("/now")
        call.stream = bench.client.request(pairs)
        bench.calls[call.stream.id] = call
        bench.exchange()
        assert (call.http_status, call.ended) == (status, True)

    run(scenario)


def test_a_refusal_that_is_remembered_with_its_head_does_not_grow_with_every_call() -> None:
    async def scenario(bench: Bench) -> None:
        for _ in range(20):
            assert bench.ask("/nowhere").status == Status.UNIMPLEMENTED
        remembered = [each for each in gc.get_objects() if isinstance(each, Unsupported)]
        assert remembered
        assert max(len(traceback.extract_tb(error.__traceback__)) for error in remembered) < 10

    run(scenario)


def test_metadata_and_the_time_left_reach_the_method() -> None:
    async def scenario(bench: Bench) -> None:
        now = asyncio.get_running_loop().time()
        metadata = [(b"grpc-timeout", b"2S"), (b"triton", b"yes"), (b"key-bin", b"AAA")]
        for _ in range(2):  # the second time from memory
            bench.ask("/later", metadata=metadata)
        for _, caller, _ in bench.methods.waiting:
            assert caller.metadata == {"triton": "yes"}
            assert caller.deadline is not None
            assert now + 2 <= caller.deadline < now + 12
        assert len(bench.methods.waiting) == 2

    run(scenario)


@pytest.mark.parametrize("metadata", [(b"grpc-timeout", b"soon"), (b"key-bin", b"!")])
def test_metadata_that_breaks_the_rules_is_the_callers_mistake(metadata: tuple[bytes, bytes]) -> None:
    async def scenario(bench: Bench) -> None:
        assert bench.ask("/now", metadata=[metadata]).status == Status.INVALID_ARGUMENT

    run(scenario)


def test_of_a_large_message_much_is_awaited_at_once() -> None:
    async def scenario(bench: Bench) -> None:
        message = bytes(120_000)
        call = bench.call("/now", prefix(len(message)), message)
        said = b"".join(bench.client.take())
        for missing in (100_000, 50_000):
            deliver(bench.connection, said[:-missing])
            assert bench.transport.taker.low_water == missing
            said = said[-missing:]
        deliver(bench.connection, said[:-1])
        assert bench.transport.taker.low_water == 1
        deliver(bench.connection, said[-1:])
        bench.exchange()
        assert call.messages == [message]

    run(scenario)


def test_what_does_not_come_any_more_is_not_awaited() -> None:
    async def scenario(bench: Bench) -> None:
        call = bench.call("/later", prefix(200_000), bytes(100_000), end=False)
        bench.exchange()
        assert bench.transport.taker.low_water == 1  # the frame is whole: anything may come next
        bench.client.reset(call.stream, ErrorCode.CANCEL)
        bench.exchange()
        assert bench.ask("/now", b"hello").messages == [b"hello"]

    run(scenario)


def test_a_slow_peer_is_heard_once_a_second() -> None:
    async def scenario(bench: Bench) -> None:
        bench.call("/now", prefix(100_000), bytes(100_000))
        said = b"".join(bench.client.take())
        deliver(bench.connection, said[:10_000])
        assert bench.transport.taker.low_water == len(said) - 10_000
        bench.connection.tick(0.0)
        assert bench.transport.taker.low_water == 1

    run(scenario)


# -- credentials


def test_only_those_with_a_token_are_let_in_and_each_head_is_asked_for_its_own() -> None:
    key = tokens.new_signing_key()
    verifier = tokens.Verifier(tokens.jwks(key), "uid")

    async def scenario(bench: Bench) -> None:
        now = asyncio.get_running_loop().time()
        good = tokens.mint(key, audience="uid", subject="agent", client="test", now=now, lifetime_s=60)
        bearer = (b"authorization", b"Bearer " + good.encode())
        for _ in range(2):
            assert bench.ask("/now", metadata=[bearer]).status == Status.OK
            assert bench.ask("/now").reason == "NO_TOKEN"
            assert bench.ask("/now", metadata=[(b"authorization", b"Bearer nonsense")]).reason == "BAD_TOKEN"
            assert bench.ask("/open").status == Status.OK

    run(scenario, verifier=verifier)


def test_a_head_that_was_good_is_not_good_for_ever() -> None:
    key = tokens.new_signing_key()
    verifier = tokens.Verifier(tokens.jwks(key), "uid")

    async def scenario(bench: Bench) -> None:
        now = asyncio.get_running_loop().time()
        short = tokens.mint(key, audience="uid", subject="agent", client="test", now=now, lifetime_s=3)
        bearer = (b"authorization", b"Bearer " + short.encode())
        assert bench.ask("/now", metadata=[bearer]).status == Status.OK
        bench.service.gate.replace(tokens.jwks(tokens.new_signing_key()))
        assert bench.ask("/now", metadata=[bearer]).status == Status.UNAUTHENTICATED

    run(scenario, verifier=verifier)


def test_a_body_of_somebody_without_a_token_is_not_read() -> None:
    verifier = tokens.Verifier(tokens.jwks(tokens.new_signing_key()), "uid")

    async def scenario(bench: Bench) -> None:
        call = bench.call("/now", prefix(len(LARGE)), end=False)
        bench.exchange()
        assert (call.status, call.reason) == (Status.UNAUTHENTICATED, "NO_TOKEN")
        assert not bench.connection.calls

    run(scenario, verifier=verifier)


# -- messages


@pytest.mark.parametrize("step", [1, 7, 4096])
def test_a_message_may_come_in_any_pieces(step: int) -> None:
    message = LARGE if step > 1000 else LARGE[:300]

    async def scenario(bench: Bench) -> None:
        call = bench.call("/now", end=False)
        body = prefix(len(message)) + message
        for start in range(0, len(body), step):
            bench.client.send_data(call.stream, [body[start : start + step]])
            bench.exchange()
        bench.client.send_data(call.stream, [], end=True)
        bench.exchange()
        await bench.turns()
        assert call.messages == [message]

    run(scenario)


def test_a_large_message_ends_on_an_aligned_address() -> None:
    import numpy as np

    async def scenario(bench: Bench) -> None:
        bench.ask("/later", LARGE)
        body = bench.methods.waiting[0][0]
        assert isinstance(body, memoryview)
        assert body.readonly
        assert bytes(body) == LARGE
        array = np.frombuffer(body, np.uint8)
        assert (array.__array_interface__["data"][0] + array.nbytes) % ALIGNMENT_BYTES == 0

    run(scenario)


def test_a_message_that_is_too_large_is_refused_when_its_length_is_known() -> None:
    async def scenario(bench: Bench) -> None:
        call = bench.call("/now", prefix(MESSAGE_BYTES_MAX + 1), end=False)
        bench.exchange()
        assert (call.status, call.reason) == (Status.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE")

    run(scenario)


@pytest.mark.parametrize(
    "body", [b"", b"\0", b"\0\0\0\0\2a", b"\0\0\0\0\1ab", b"\0\0\0\0\1a\0\0\0\0\1b", b"\2\0\0\0\1a", b"\1\0\0\0\1a"]
)
def test_what_is_not_one_message_is_the_callers_mistake(body: bytes) -> None:
    async def scenario(bench: Bench) -> None:
        call = bench.call("/now", body)
        bench.exchange()
        assert call.reason == "BAD_FRAMING"

    run(scenario)


@pytest.mark.parametrize("size", [0, 10, 2000, 100_000, 1_000_000])
def test_a_compressed_call_gets_a_compressed_answer_where_that_is_worth_it(size: int) -> None:
    message = (LARGE * 8)[:size]

    async def scenario(bench: Bench) -> None:
        call = bench.call("/now", *pack(message, b"gzip"), metadata=[(b"grpc-encoding", b"gzip")])
        await bench.until(lambda: call.ended)
        assert (call.fields.get(b"grpc-encoding") == b"gzip") == (size >= 2000)
        (answer,) = call.messages
        assert (gzip.decompress(answer) if call.body[0] else answer) == message
        assert bench.connections.held_bytes == 0

    run(scenario)


def test_a_few_bytes_cannot_become_a_flood() -> None:
    bomb = gzip.compress(bytes(MESSAGE_BYTES_MAX + 1))

    async def scenario(bench: Bench) -> None:
        call = bench.call("/now", prefix(len(bomb), compressed=True), bomb, metadata=[(b"grpc-encoding", b"gzip")])
        await bench.until(lambda: call.ended)
        assert call.status != Status.OK

    run(scenario)


def test_a_method_that_settles_has_its_compressed_calls_answered_too() -> None:
    """Both ends of it: what cannot be unpacked, and what is answered as soon as it is."""

    async def scenario(bench: Bench) -> None:
        metadata = [(b"grpc-encoding", b"gzip")]
        nonsense = bench.call("/settles", prefix(10_000, compressed=True), bytes(10_000), metadata=metadata)
        await bench.until(lambda: nonsense.ended)
        assert nonsense.status == Status.INVALID_ARGUMENT
        packed = gzip.compress(random.Random(7).randbytes(10_000))
        at_once = bench.call("/settles/now", prefix(len(packed), compressed=True), packed, metadata=metadata)
        await bench.until(lambda: at_once.ended)
        assert at_once.status == Status.OK

    run(scenario)


def test_an_unknown_compression_is_told_what_is_known() -> None:
    async def scenario(bench: Bench) -> None:
        call = bench.ask("/now", metadata=[(b"grpc-encoding", b"snappy")])
        assert (call.status, call.fields[b"grpc-accept-encoding"]) == (Status.UNIMPLEMENTED, b"identity,deflate,gzip")

    run(scenario)


def test_large_answers_wait_for_each_other_and_small_ones_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(h2, "WAITING_BYTES_MAX", 2 * len(LARGE))

    async def scenario(bench: Bench) -> None:
        calls = [bench.ask("/later", b"") for _ in range(4)]
        small = bench.ask("/later", b"")
        bench.transport.taking = False
        for _, _, reply in bench.methods.waiting[:4]:
            reply.send([LARGE])
        bench.methods.waiting[4][2].send([b"small"])
        bench.service.outbox.flush()
        assert bench.connection.machine.unsent_bytes < 3 * len(LARGE)
        bench.transport.take()
        await bench.turns()
        assert [call.messages for call in calls] == [[LARGE]] * 4
        assert small.messages == [b"small"]
        assert bench.connections.held_bytes == 0

    run(scenario)


def test_answers_that_there_is_no_memory_for_are_refused() -> None:
    async def scenario(bench: Bench) -> None:
        bench.reads = False
        first, second = bench.ask("/later"), bench.ask("/later")
        for _, _, reply in bench.methods.waiting:
            reply.send([LARGE])
        await bench.turns()
        assert (first.http_status, first.ended, second.reason) == (200, False, "OUT_OF_MEMORY")
        bench.client.reset(first.stream)
        bench.exchange()
        assert bench.connections.held_bytes == 0

    run(scenario, window=1 << 16, limits=connections.Limits(memory_bytes=len(LARGE) * 3 // 2))


def test_an_answer_beyond_the_limit_is_an_error_of_its_own() -> None:
    async def scenario(bench: Bench) -> None:
        call = bench.ask("/later")
        bench.methods.waiting[0][2].send([bytes(MESSAGE_BYTES_MAX), b"x"])
        await bench.turns()
        assert (call.status, call.reason) == (Status.RESOURCE_EXHAUSTED, "ANSWER_TOO_LARGE")

    run(scenario)


# -- ends before the end


def test_a_call_that_is_cancelled_is_withdrawn_and_its_answer_ignored() -> None:
    async def scenario(bench: Bench) -> None:
        call = bench.ask("/later")
        bench.client.reset(call.stream)
        bench.exchange()
        assert bench.methods.withdrawn == 1
        bench.methods.waiting[0][2].send([b"too late"])
        await bench.turns()
        assert not call.ended
        assert bench.ask("/now").status == Status.OK

    run(scenario)


def test_a_lost_connection_withdraws_its_calls() -> None:
    async def scenario(bench: Bench) -> None:
        for _ in range(3):
            bench.ask("/later", LARGE)
        assert bench.connections.held_bytes == 3 * len(LARGE)
        bench.transport.abort()
        await asyncio.sleep(0)
        assert bench.methods.withdrawn == 3
        assert bench.connections.held_bytes == 0
        assert bench.connections.empty.is_set()
        bench.methods.waiting[0][2].send([b"too late"])

    run(scenario)


def test_what_was_answered_is_not_withdrawn() -> None:
    async def scenario(bench: Bench) -> None:
        bench.ask("/later")
        bench.methods.waiting[0][2].send([b""])
        bench.transport.abort()
        await asyncio.sleep(0)
        assert bench.methods.withdrawn == 0

    run(scenario)


def test_a_call_whose_method_forgets_it_ends_soon_after_its_deadline() -> None:
    async def scenario(bench: Bench) -> None:
        call = bench.ask("/later", metadata=[(b"grpc-timeout", b"100m")])
        bench.tick(0.1 + LATE_S / 2)
        assert not call.ended
        bench.tick(0.2 + LATE_S)
        assert (call.status, bench.methods.withdrawn) == (Status.DEADLINE_EXCEEDED, 1)

    run(scenario)


def test_a_message_must_be_whole_in_time() -> None:
    async def scenario(bench: Bench) -> None:
        call = bench.call("/now", prefix(2), b"a", end=False)
        bench.exchange()
        bench.tick(MESSAGE_S_MAX - 1)
        assert not call.ended
        bench.tick(MESSAGE_S_MAX + 1)
        assert call.reason == "SLOW_REQUEST"

    run(scenario)


def test_messages_on_their_way_count_and_are_refused_where_there_is_no_memory() -> None:
    async def scenario(bench: Bench) -> None:
        first = bench.call("/now", prefix(len(LARGE)), LARGE[:-1], end=False)
        second = bench.call("/now", prefix(len(LARGE)), LARGE[:-1], end=False)
        bench.exchange()
        assert (second.reason, first.ended) == ("OUT_OF_MEMORY", False)
        bench.client.send_data(first.stream, [LARGE[-1:]], end=True)
        await bench.turns()
        assert first.messages == [LARGE]
        assert bench.connections.held_bytes == 0

    run(scenario, limits=connections.Limits(memory_bytes=len(LARGE) * 3 // 2))


# -- streams


def test_a_stream_is_answered_message_by_message() -> None:
    async def scenario(bench: Bench) -> None:
        call = bench.call("/stream", end=False)
        for number in range(3):
            bench.client.send_data(call.stream, [prefix(1), b"%d" % number])
            await bench.turns()
            assert len(call.messages) == number + 1
        bench.client.send_data(call.stream, [], end=True)
        await bench.turns()
        assert (call.messages, call.status, call.fields[b"model"]) == ([b"0", b"1", b"2"], Status.OK, b"affine/1")
        assert bench.methods.ended == 1

    run(scenario)


def test_messages_of_a_stream_may_come_in_any_pieces_and_sizes() -> None:
    messages = [b"", b"a", LARGE, b"", LARGE * 40, b"b" * 70_000]

    async def scenario(bench: Bench) -> None:
        body = b"".join(prefix(len(message)) + message for message in messages)
        call = bench.call("/stream", end=False)
        for start in range(0, len(body), 99_991):
            bench.client.send_data(call.stream, [body[start : start + 99_991]])
            await bench.turns(5)
        bench.client.send_data(call.stream, [], end=True)
        await bench.turns(200)
        assert call.messages == messages
        assert bench.connections.held_bytes == 0

    run(scenario)


def test_a_stream_that_is_compressed_is_answered_so() -> None:
    async def scenario(bench: Bench) -> None:
        call = bench.call("/stream", *pack(LARGE, b"gzip"), metadata=[(b"grpc-encoding", b"gzip")])
        await bench.until(lambda: call.ended)
        assert gzip.decompress(call.messages[0]) == LARGE

    run(scenario)


def test_a_generator_waits_for_a_peer_that_does_not_read() -> None:
    async def scenario(bench: Bench) -> None:
        call = bench.call("/push", prefix(5), b"10000", end=False)
        bench.exchange()
        bench.transport.taking = False
        for _ in range(500):
            await asyncio.sleep(0)
        held = bench.methods.pushed
        assert held * 10_000 < 3 * UNSENT_BYTES_MAX
        bench.transport.take()
        await bench.turns()
        assert bench.methods.pushed > held
        bench.client.reset(call.stream)
        await bench.turns()
        assert bench.methods.ended == 1

    run(scenario)


def test_a_generator_that_never_waits_lets_others_have_their_turn() -> None:
    async def scenario(bench: Bench) -> None:
        call = bench.call("/push", prefix(1), b"1", end=False)
        bench.exchange()
        for _ in range(5):
            await asyncio.sleep(0)
        assert 0 < bench.methods.pushed <= 5 * TURN_MESSAGES_MAX
        bench.client.reset(call.stream)
        await bench.turns()

    run(scenario)


def test_a_generator_waits_for_a_peer_whose_window_is_shut() -> None:
    async def scenario(bench: Bench) -> None:
        bench.call("/push", prefix(5), b"10000", end=False)
        bench.reads = False
        await bench.turns(500)
        held = bench.methods.pushed
        await bench.turns(500)
        assert bench.methods.pushed == held
        assert held * 10_000 < 2 * UNSENT_BYTES_MAX

    run(scenario, window=1 << 16)


def test_a_peer_is_stopped_by_a_method_that_does_not_read() -> None:
    async def scenario(bench: Bench) -> None:
        call = bench.call("/deaf", end=False)
        bench.client.send_data(call.stream, [prefix(1000), bytes(1000)] * 20_000)
        await bench.turns()
        assert call.stream.unsent > 10_000_000
        assert bench.connections.held_bytes <= h2.LIMITS.stream_window_bytes
        bench.tick(TAKE_S_MAX + 1)
        assert bench.connection.calls  # to be slow is the method's right

    run(scenario)


def test_an_error_behind_messages_comes_as_trailers() -> None:
    async def scenario(bench: Bench) -> None:
        call = bench.call("/stream", prefix(1), b"a", b"\3\0\0\0\0", end=True)
        await bench.turns()
        assert (call.messages, call.reason) == ([b"a"], "BAD_FRAMING")

    run(scenario)


def test_a_stream_ends_at_its_deadline() -> None:
    async def scenario(bench: Bench) -> None:
        call = bench.call("/stream", end=False, metadata=[(b"grpc-timeout", b"10m")])
        bench.exchange()
        await bench.until(lambda: call.ended)
        assert (call.status, call.reason) == (Status.DEADLINE_EXCEEDED, "TOO_LATE")

    run(scenario)


def test_a_stream_that_is_cancelled_ends_its_method() -> None:
    async def scenario(bench: Bench) -> None:
        call = bench.call("/stream", end=False)
        await bench.turns()
        bench.client.reset(call.stream)
        await bench.turns()
        assert bench.methods.ended == 1
        assert not bench.connection.calls

    run(scenario)


# -- the connection's end


def test_a_drain_finishes_what_is_in_flight_and_closes() -> None:
    async def scenario(bench: Bench) -> None:
        call = bench.ask("/later")
        bench.connections.drain()
        bench.exchange()
        assert [goaway.code for goaway in bench.goaways] == [ErrorCode.NO_ERROR] * 2
        assert not bench.transport.closing
        bench.methods.waiting[0][2].send([b"last"])
        await bench.turns()
        assert call.messages == [b"last"]
        assert bench.transport.closing
        await bench.connections.empty.wait()

    run(scenario)


def test_a_drain_waits_for_a_peer_to_take_its_last_answer() -> None:
    async def scenario(bench: Bench) -> None:
        call = bench.ask("/later")
        bench.connections.drain()
        bench.exchange()
        bench.transport.taking = False
        bench.connection.pause_writing()
        bench.methods.waiting[0][2].send([b"last"])
        await asyncio.sleep(0)
        bench.service.outbox.flush()
        assert not bench.transport.closing
        bench.transport.taking = True
        bench.connection.resume_writing()
        await bench.turns()
        assert call.messages == [b"last"]
        assert bench.transport.closing

    run(scenario)


def test_an_idle_connection_drains_at_once() -> None:
    async def scenario(bench: Bench) -> None:
        bench.connections.drain()
        bench.exchange()
        assert bench.transport.closing

    run(scenario)


def test_a_connection_without_a_place_is_told_so() -> None:
    async def scenario(bench: Bench) -> None:
        (goaway,) = bench.goaways
        assert goaway.code == ErrorCode.ENHANCE_YOUR_CALM
        assert goaway.debug.startswith(b"TOO_MANY_CONNECTIONS")
        assert goaway.last_stream_id == 0  # nothing was executed

    run(scenario, full=True)


def test_a_breach_of_the_protocol_ends_the_connection_and_withdraws_its_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(h2, "HANG_UP_S", 0.0)

    async def scenario(bench: Bench) -> None:
        bench.ask("/later")
        bench.connection.data_received(b"\0\0\1\x06\0\0\0\0\0x")  # a ping of one byte
        bench.exchange()
        assert bench.goaways[-1].code == ErrorCode.FRAME_SIZE_ERROR
        assert bench.methods.withdrawn == 1
        assert bench.transport.ended
        await bench.until(lambda: bench.transport.aborted)

    run(scenario)


def test_a_peer_must_take_its_answer_in_time() -> None:
    async def scenario(bench: Bench) -> None:
        call = bench.ask("/later")
        bench.reads = False
        bench.methods.waiting[0][2].send([LARGE])
        await bench.turns()
        bench.tick(1)
        bench.tick(TAKE_S_MAX)
        assert call.reset is None
        bench.tick(TAKE_S_MAX + 2)
        assert call.reset == ErrorCode.CANCEL
        assert bench.connections.held_bytes == 0
        assert bench.ask("/now").status == Status.OK  # its neighbours on the connection are none the worse

    run(scenario, window=1 << 16)


def test_a_peer_that_reads_nothing_at_all_is_cut_off() -> None:
    async def scenario(bench: Bench) -> None:
        bench.ask("/later")
        bench.transport.taking = False
        bench.methods.waiting[0][2].send([LARGE])
        bench.service.outbox.flush()
        assert not bench.transport.reading
        bench.tick(TAKE_S_MAX - 1)
        assert not bench.transport.aborted
        bench.tick(TAKE_S_MAX + 2)
        assert bench.transport.aborted

    run(scenario)


def test_a_connection_is_idle_between_its_calls_only() -> None:
    async def scenario(bench: Bench) -> None:
        assert bench.connection.idle_since is not None
        bench.ask("/later")
        assert bench.connection.idle_since is None
        bench.methods.waiting[0][2].send([b""])
        await bench.turns()
        assert bench.connection.idle_since is not None

    run(scenario)


def test_more_streams_than_allowed_are_refused_and_the_others_answered() -> None:
    async def scenario(bench: Bench) -> None:
        bench.client.peer_streams_max = 100  # as if it had not heard
        calls = [bench.ask("/later") for _ in range(6)]
        assert [call.reset for call in calls] == [None] * 4 + [ErrorCode.REFUSED_STREAM] * 2
        for _, _, reply in bench.methods.waiting:
            reply.send([b""])
        await bench.turns()
        assert [call.ended for call in calls] == [True] * 4 + [False] * 2

    run(scenario, wire=replace(h2.LIMITS, concurrent_streams=4))
