"""Errors survive the wire, and every class has its code."""

import pickle

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from hypothesis import given
from hypothesis import strategies as st

from waypost import errors
from waypost.errors import BY_CODE, MeshError, NotFound
from waypost.rpc import from_status, grpc_code, to_status

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(st.sampled_from(list(BY_CODE.values())), words, words, words)
def test_an_error_arrives_as_it_was_sent(kind: type[MeshError], message: str, hint: str, value: str) -> None:
    sent = kind("SOME_REASON", message, hint, thing=value)
    arrived = from_status(to_status(sent))
    assert type(arrived) is kind
    assert (arrived.reason, arrived.message, arrived.hint) == ("SOME_REASON", message, hint)
    assert arrived.metadata == {"thing": value}


@given(st.integers(0, 1 << 40))
def test_when_to_come_back_is_told_in_the_words_of_google_rpc_too(milliseconds: int) -> None:
    status = to_status(errors.Unavailable("QUEUE_FULL", "full", retry_after_ms=str(milliseconds)))
    told = [detail for detail in status.details if detail.Is(RetryInfo.DESCRIPTOR)]
    assert RetryInfo.FromString(told[0].value).retry_delay.ToMilliseconds() == milliseconds
    assert from_status(status).metadata == {"retry_after_ms": str(milliseconds)}


def test_a_stranger_who_says_when_to_come_back_is_understood() -> None:
    status = to_status(errors.Unavailable("QUEUE_FULL", "full", retry_after_ms="1500"))
    del status.details[0]
    assert from_status(status).metadata == {"retry_after_ms": "1500"}


def test_every_code_but_ok_has_a_class() -> None:
    assert set(BY_CODE) == {code.value[0] for code in grpc.StatusCode if code is not grpc.StatusCode.OK}
    assert {grpc_code(kind.code) for kind in BY_CODE.values()} == set(grpc.StatusCode) - {grpc.StatusCode.OK}


def test_a_status_from_elsewhere_gets_the_nearest_class() -> None:
    status = to_status(NotFound("X", "no such thing"))
    del status.details[:]
    arrived = from_status(status)
    assert isinstance(arrived, NotFound)
    assert arrived.reason == "NOT_FOUND"


@pytest.mark.parametrize("kind", [errors.Invalid, errors.Unavailable])
def test_errors_can_be_pickled(kind: type[MeshError]) -> None:
    error = pickle.loads(pickle.dumps(kind("R", "m", "h", a="b")))
    assert (type(error), error.reason, error.hint, error.metadata) == (kind, "R", "h", {"a": "b"})


def test_the_text_of_an_error_holds_its_next_step() -> None:
    assert str(NotFound("X", "no position x", "create it")) == "no position x (create it)"
