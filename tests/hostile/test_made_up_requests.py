"""Requests that nobody would send: `make fuzz-calls CALLS=1000` makes up more of them."""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hostile.messages import requests
from tests.hostile.methods import METHODS, Method
from tests.hostile.world import VAGUE, World

CALLS = int(os.environ.get("HOSTILE_CALLS", "8"))
"""Of each method. Streams take a moment each, and are given fewer."""
STREAM_MESSAGES_MAX = 3
SLOWER = 4


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.path)
def test_the_answer_is_ok_or_says_precisely_what_is_wrong(here: World, method: Method) -> None:
    @settings(
        max_examples=max(3, CALLS // SLOWER) if method.streams else CALLS,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(st.lists(requests(method.descriptor.input_type), min_size=1, max_size=STREAM_MESSAGES_MAX))
    def each(made_up: list[bytes]) -> None:
        outcome = here.servers[method.server].call(method, made_up)
        assert outcome.code not in VAGUE, outcome
        assert outcome.code == "OK" or outcome.reason, outcome

    drained = method.server == "box"
    before = here.processes(drained=drained)
    each()
    assert before.keys() <= here.processes(drained=drained).keys(), "a process has died"
