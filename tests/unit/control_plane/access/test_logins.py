"""What a login is checked with: passwords, and how often one may try."""

import asyncio
import threading

import pytest
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st

from control_plane.access import attempts, passwords
from control_plane.access.attempts import (
    KEYS_MAX,
    PEER_ATTEMPTS,
    USER_ATTEMPTS,
    USER_LEAK_S,
    Attempts,
    Buckets,
    peer_of,
)
from control_plane.access.passwords import WAITING_MAX, Passwords
from waypost.errors import Exhausted

CHEAP = PasswordHasher(1, 8, 1)


def test_a_password_matches_its_own_hash_and_no_other() -> None:
    async def scenario() -> None:
        checking = Passwords(CHEAP)
        hashed = await checking.hash("correct horse battery")
        assert hashed.startswith("$argon2id$v=19$m=8,t=1,p=1$")
        assert await checking.hash("correct horse battery") != hashed  # salted
        assert await checking.matches(hashed, "correct horse battery")
        assert not await checking.matches(hashed, "correct horse batterx")
        assert not await checking.matches("", "")

    asyncio.run(scenario())


def test_nobodys_password_is_checked_with_the_same_parameters() -> None:
    """What takes the time is argon2 with its parameters; those of the decoy are the platform's own."""
    seen: list[str] = []

    class Watched(PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> bool:  # noqa: A002  argon2's own word
            seen.append(str(hash))
            return super().verify(hash, password)

    async def scenario() -> None:
        checking = Passwords(Watched(2, 16, 1))
        known = await checking.hash("correct horse battery")
        assert not await checking.matches(known, "wrong")
        assert not await checking.matches("", "wrong")

    asyncio.run(scenario())
    known, decoy = [entry.split("$")[:4] for entry in seen]
    assert known == decoy == ["", "argon2id", "v=19", "m=16,t=2,p=1"]
    assert [len(part) for part in seen[0].split("$")] == [len(part) for part in seen[1].split("$")]


def test_the_event_loop_goes_on_while_a_password_is_checked_and_the_queue_is_bounded() -> None:
    held = threading.Event()

    class Slow(PasswordHasher):
        def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
            held.wait(10)
            return super().hash(password)

    async def scenario() -> None:
        checking = Passwords(Slow(1, 8, 1))
        waiting = [asyncio.ensure_future(checking.hash("x")) for _ in range(WAITING_MAX)]
        await asyncio.sleep(0)
        with pytest.raises(Exhausted) as refused:
            await checking.hash("x")
        assert refused.value.reason == "LOGINS_BUSY"
        held.set()
        assert len(await asyncio.gather(*waiting)) == WAITING_MAX
        await checking.hash("x")

    asyncio.run(scenario())


def test_the_platforms_own_parameters_are_those_of_rfc_9106() -> None:
    assert (passwords.PASSES, passwords.MEMORY_KIB) == (3, 65536)


def tries(counting: Attempts, user: str, peer: str, now_s: float) -> bool:
    try:
        counting.begin(user, peer, now_s)
    except Exhausted as error:
        return error.reason != "TOO_MANY_LOGINS"
    return True


def test_a_user_can_be_guessed_at_a_few_times_and_then_rarely_from_however_many_machines() -> None:
    counting = Attempts()
    assert all(tries(counting, "users/anna", f"10.0.0.{n}", 0.0) for n in range(USER_ATTEMPTS))
    assert not tries(counting, "users/anna", "10.0.1.1", 0.0)
    assert tries(counting, "users/bert", "10.0.1.1", 0.0)
    assert not tries(counting, "users/anna", "10.0.1.1", USER_LEAK_S * 0.9)
    assert tries(counting, "users/anna", "10.0.1.1", USER_LEAK_S)
    assert not tries(counting, "users/anna", "10.0.1.1", USER_LEAK_S)


def test_a_machine_can_try_some_users_and_then_waits() -> None:
    counting = Attempts()
    assert all(tries(counting, f"users/u{n}", "10.0.0.7", 0.0) for n in range(PEER_ATTEMPTS))
    with pytest.raises(Exhausted) as refused:
        counting.begin("users/new", "10.0.0.7", 0.0)
    assert int(refused.value.metadata["retry_after_ms"]) > 0
    assert tries(counting, "users/new", "10.0.0.8", 0.0)


def test_who_knows_the_password_is_never_counted_out() -> None:
    counting = Attempts()
    for _ in range(10 * PEER_ATTEMPTS):
        counting.begin("users/anna", "10.0.0.7", 0.0)
        counting.succeeded("users/anna", "10.0.0.7", 0.0)


@given(st.lists(st.tuples(st.text(max_size=2), st.floats(0, 5)), max_size=100))
def test_what_leaked_out_and_what_was_added_is_all_there_is(tried: list[tuple[str, float]]) -> None:
    """However attempts are spread, no more pass than the bucket's size and what leaked meanwhile."""
    buckets, now_s, passed = Buckets(5, 1.0), 0.0, dict[str, int]()
    for key, after_s in tried:
        now_s += after_s
        if buckets.wait_s(key, now_s) == 0:
            buckets.add(key, 1, now_s)
            passed[key] = passed.get(key, 0) + 1
    assert all(count <= 5 + now_s for count in passed.values())


def test_memory_is_bounded_and_what_was_touched_last_is_kept() -> None:
    buckets = Buckets(1, 1000.0)
    for number in range(KEYS_MAX + 100):
        buckets.add(str(number), 1, 0.0)
    assert len(buckets) == KEYS_MAX
    assert buckets.wait_s(str(KEYS_MAX + 99), 0.0) > 0
    assert buckets.wait_s("0", 0.0) == 0


@pytest.mark.parametrize(
    ("peer", "machine"),
    [
        ("ipv4:10.0.0.7:4711", "10.0.0.7"),
        ("ipv6:%5B2001:db8::1%5D:4711", "2001:db8::/64"),
        ("ipv6:[2001:db8::ffff:2]:4711", "2001:db8::/64"),
        ("ipv6:[::ffff:10.0.0.7]:4711", "10.0.0.7"),
        ("ipv6:[fe80::1%25eth0]:4711", "fe80::/64"),
        ("unix:", "unix:"),
        ("", ""),
        ("ipv4:nonsense", "ipv4:nonsense"),
    ],
)
def test_a_peer_is_a_machine_and_not_a_connection(peer: str, machine: str) -> None:
    assert peer_of(peer) == machine


def test_the_limits_mean_what_their_comment_says() -> None:
    assert attempts.USER_LEAK_S * 2880 == 24 * 3600
