"""A body is as long as its head says (RFC 9113, section 8.1.1)."""

import pytest

from tests.unit.sdk.wire.peers import POST, data, headers, server
from waypost.wire import ErrorCode


@pytest.mark.parametrize(
    "bodies",
    [
        (data(1, b"hello", end=True),),
        (data(1, b"he"), data(1, b"l"), data(1, b"lo", end=True)),
        (data(1, b"hello"), headers(1, ((b"x-sum", b"1"),))),
    ],
)
def test_section_8_1_1_a_true_content_length(bodies):
    bench = server()
    bench.hear(headers(1, (*POST, (b"content-length", b"5")), end=False), *bodies)
    assert bench.resets == []


@pytest.mark.parametrize(
    "bodies",
    [
        (data(1, b"hell", end=True),),
        (data(1, b"hello!", end=True),),
        (data(1, b"he"), data(1, b"llo!")),
        (data(1, b"he"), data(1, b"ll", end=True)),
        (data(1, b"hell"), headers(1, ((b"x-sum", b"1"),))),
    ],
)
def test_section_8_1_1_a_false_content_length(bodies):
    bench = server()
    *_, event = bench.hear(headers(1, (*POST, (b"content-length", b"5")), end=False), *bodies)
    assert event.reason == "CONTENT_LENGTH_WRONG"
    assert bench.resets == [(1, ErrorCode.PROTOCOL_ERROR)]


def test_section_8_1_1_a_length_without_a_body():
    bench = server()
    (event,) = bench.hear(headers(1, (*POST, (b"content-length", b"5"))))
    assert event.reason == "CONTENT_LENGTH_WRONG"
    assert bench.hear(headers(3, (*POST, (b"content-length", b"0"))))[0].ended
