"""Which times are let in at the door."""

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from mesh.times import duration, refuse_bad_times, seconds, timestamp
from waypost.api.control.v1.application_pb2 import UpdateApplicationRequest
from waypost.api.control.v1.audit_pb2 import ListAuditEntriesRequest
from waypost.errors import Invalid

numbers = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-400_000_000_000, 400_000_000_000))
nanos = st.one_of(st.integers(-(2**31), 2**31 - 1), st.integers(-1_000_000_001, 1_000_000_001))


@given(st.integers(0, 250_000_000_000_000), st.integers(-1_000_000_000, 1_000_000_000))
def test_what_is_made_is_what_is_read_to_the_millisecond(unix_ms: int, span_ms: int) -> None:
    assert seconds(timestamp(unix_ms / 1000)) == unix_ms / 1000
    assert seconds(duration(span_ms / 1000)) == span_ms / 1000


@pytest.mark.parametrize("kind", [Timestamp, Duration])
@given(whole=numbers, nanos=nanos)
def test_what_is_let_in_is_what_protobuf_can_write_as_a_time(
    kind: type[Timestamp] | type[Duration], whole: int, nanos: int
) -> None:
    time = kind(seconds=whole, nanos=nanos)
    try:
        time.ToJsonString()
        writable = True
    except ValueError:
        writable = False
    try:
        refuse_bad_times(time)
        let_in = True
    except Invalid:
        let_in = False
    assert let_in == writable


def test_the_field_is_named_however_deep_it_lies() -> None:
    request = UpdateApplicationRequest()
    request.application.create_time.seconds = 2**62
    with pytest.raises(Invalid, match=r"application\.create_time is no Timestamp") as refused:
        refuse_bad_times(request)
    assert refused.value.reason == "BAD_TIME"


def test_what_has_none_is_let_in() -> None:
    refuse_bad_times(ListAuditEntriesRequest())
