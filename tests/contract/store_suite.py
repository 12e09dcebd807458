"""What every store promises (control_plane/store/base.py), as tests. `test_stores.py` runs them on each one."""

import asyncio
import dataclasses
import functools
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

import pytest

from control_plane.store import (
    AuditFilter,
    AuditRow,
    Claim,
    Delete,
    EventRow,
    Fence,
    MinuteRow,
    ObservedRow,
    Peer,
    Put,
    RevisionConflict,
    Stores,
    TooOld,
    audit,
    observed,
    records,
)
from control_plane.store.schema import FORMAT
from waypost.errors import Invalid, Precondition

Open = Callable[[], AbstractAsyncContextManager[Stores]]
"""Opens the store under test; the same data each time within one test where the store is durable."""


def scenario(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*arguments: Any, **keywords: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*arguments, **keywords), 20))

    return run


def put(name: str, body: bytes = b"x", kind: str = "thing") -> Put:
    return Put(name, kind, body)


class StoreSuite:
    """Tests take the fixture `opened`, of type Open."""

    @scenario
    async def test_an_empty_store_is_at_revision_zero(self, opened: Open) -> None:
        async with opened() as stores:
            assert await stores.records.revision() == 0
            assert await stores.records.read("a") is None
            assert (await stores.records.scan("")).records == ()

    @scenario
    async def test_a_commit_writes_all_its_changes_under_one_new_revision(self, opened: Open) -> None:
        async with opened() as stores:
            assert await stores.records.commit([put("a"), put("b", b"y")]) == 1
            assert await stores.records.commit([put("a", b"z"), Delete("b")]) == 2
            found = await stores.records.read_many(["a", "b", "c"])
            assert {name: (r.revision, r.body) for name, r in found.items()} == {"a": (2, b"z")}

    @scenario
    async def test_a_commit_that_expects_another_revision_writes_nothing(self, opened: Open) -> None:
        async with opened() as stores:
            await stores.records.commit([put("a")])
            for expect in ({"a": 0}, {"a": 7}, {"missing": 1}, {"a": 1, "missing": 3}):
                with pytest.raises(RevisionConflict):
                    await stores.records.commit([put("a", b"new"), put("c")], expect=expect)
            assert await stores.records.revision() == 1
            assert (await stores.records.read_many(["a", "c"])).keys() == {"a"}

    @scenario
    async def test_a_conflict_tells_what_was_expected_and_what_is(self, opened: Open) -> None:
        async with opened() as stores:
            await stores.records.commit([put("a")])
            with pytest.raises(RevisionConflict) as caught:
                await stores.records.commit([Delete("a")], expect={"a": 9})
            assert (caught.value.name, caught.value.expected, caught.value.actual) == ("a", 9, 1)

    @scenario
    async def test_a_commit_may_guard_what_it_does_not_change(self, opened: Open) -> None:
        async with opened() as stores:
            await stores.records.commit([put("owner")])
            await stores.records.commit([put("owned")], expect={"owner": 1, "owned": 0})
            await stores.records.commit([Delete("owner")])
            with pytest.raises(RevisionConflict):
                await stores.records.commit([put("another")], expect={"owner": 1})

    @scenario
    async def test_a_commit_may_ask_that_nothing_else_was_committed(self, opened: Open) -> None:
        async with opened() as stores:
            await stores.records.commit([put("a")])
            assert await stores.records.commit([put("b")], unchanged_since=1) == 2
            with pytest.raises(RevisionConflict):
                await stores.records.commit([Delete("a")], unchanged_since=1)
            assert await stores.records.revision() == 2

    @scenario
    async def test_of_many_racing_writers_exactly_one_wins_each_revision(self, opened: Open) -> None:
        async with opened() as stores:
            await stores.records.commit([put("n", b"0")])

            async def add() -> None:
                while True:
                    record = await stores.records.read("n")
                    assert record
                    try:
                        await stores.records.commit(
                            [put("n", str(int(record.body) + 1).encode())], expect={"n": record.revision}
                        )
                        return
                    except RevisionConflict:
                        continue

            await asyncio.gather(*(add() for _ in range(8)))
            record = await stores.records.read("n")
            assert record
            assert (record.body, record.revision) == (b"8", 9)

    @scenario
    async def test_a_scan_gives_a_prefix_by_rising_name_and_page_by_page(self, opened: Open) -> None:
        async with opened() as stores:
            names = ["p/a", "p/b", "p/b/c", "p/b-c", "p/bb", "p0", "q/a", "P/a"]
            await stores.records.commit([put(name) for name in names])
            seen, after = [], ""
            while True:
                page = await stores.records.scan("p/", limit=2, after=after)
                seen += [record.name for record in page.records]
                if not (after := page.after):
                    break
            assert seen == sorted(name for name in names if name.startswith("p/"))

    @scenario
    async def test_a_scan_can_be_kept_to_one_kind(self, opened: Open) -> None:
        async with opened() as stores:
            await stores.records.commit([put("p/a", kind="one"), put("p/b", kind="two"), put("q/a", kind="one")])
            page = await stores.records.scan("p/", kind="one")
            assert [record.name for record in page.records] == ["p/a"]
            assert [record.name for record in (await stores.records.scan("", kind="one")).records] == ["p/a", "q/a"]

    @scenario
    async def test_changes_tell_the_newest_form_of_each_record_and_what_was_deleted(self, opened: Open) -> None:
        async with opened() as stores:
            await stores.records.commit([put("a"), put("b"), put("c")])
            await stores.records.commit([put("a", b"2")])
            await stores.records.commit([put("a", b"3"), Delete("b")])
            changes = await stores.records.changes(1)
            assert changes.revision == 3
            assert [(r.name, r.body) for r in changes.records] == [("a", b"3")]
            assert [(t.name, t.kind, t.revision) for t in changes.deleted] == [("b", "thing", 3)]
            assert await stores.records.changes(3) == records.Changes(3, (), ())

    @scenario
    async def test_a_record_made_again_is_no_longer_deleted(self, opened: Open) -> None:
        async with opened() as stores:
            await stores.records.commit([put("a")])
            await stores.records.commit([Delete("a")])
            await stores.records.commit([put("a", b"again")], expect={"a": 0})
            changes = await stores.records.changes(1)
            assert [r.body for r in changes.records] == [b"again"]
            assert changes.deleted == ()

    @scenario
    async def test_deleting_what_does_not_exist_leaves_no_trace(self, opened: Open) -> None:
        async with opened() as stores:
            await stores.records.commit([Delete("a")])
            assert (await stores.records.changes(0)).deleted == ()

    @scenario
    async def test_long_changes_come_in_pieces_of_whole_commits(
        self, opened: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(records, "CHANGES_MAX", 4)
        async with opened() as stores:
            for commit in range(5):
                await stores.records.commit([put(f"{commit}/{n}") for n in range(3)])
            await stores.records.commit([Delete("0/0"), Delete("0/1")])
            seen, deleted, since = [], [], 0
            while since < 6:
                changes = await stores.records.changes(since)
                assert changes.revision > since
                seen += [r.name for r in changes.records]
                deleted += [t.name for t in changes.deleted]
                since = changes.revision
            assert len(seen) == len(set(seen)) == 13
            assert sorted(deleted) == ["0/0", "0/1"]

    @scenario
    async def test_whoever_slept_through_forgotten_deletions_must_start_over(
        self, opened: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(records, "TOMBSTONES_MAX", 2)
        async with opened() as stores:
            await stores.records.commit([put(name) for name in "abcd"])
            for name in "abcd":
                await stores.records.commit([Delete(name)])
            with pytest.raises(TooOld):
                await stores.records.changes(2)
            assert [t.name for t in (await stores.records.changes(3)).deleted] == ["c", "d"]

    @scenario
    async def test_a_watcher_is_woken_by_a_commit(self, opened: Open) -> None:
        async with opened() as stores, asyncio.TaskGroup() as tasks:
            woken = tasks.create_task(_first(stores.records.watch(0)))
            await stores.records.commit([put("a")])
            assert await woken == 1

    @scenario
    async def test_a_watcher_that_is_behind_is_woken_at_once_and_skips(self, opened: Open) -> None:
        async with opened() as stores:
            for _ in range(3):
                await stores.records.commit([put("a")])
            assert await _first(stores.records.watch(1)) == 3

    @scenario
    async def test_a_cancelled_commit_harms_nobody(self, opened: Open) -> None:
        async with opened() as stores:
            await stores.records.commit([put("kept")])
            for turns in range(12):
                task = asyncio.ensure_future(stores.records.commit([put("a", str(turns).encode())]))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.sleep(0)
                task.cancel()  # a call and the task group around it, say
                await asyncio.gather(task, return_exceptions=True)
            assert await stores.records.read("kept")
            revision = await stores.records.commit([put("b")])
            written = await stores.records.read("b")
            assert written is not None
            assert written.revision == revision  # what was cancelled may still be written, before this or after it

    @scenario
    async def test_the_latest_observation_wins(self, opened: Open) -> None:
        async with opened() as stores:
            await stores.observed.put([ObservedRow("k", "a", b"1"), ObservedRow("k", "a", b"2")])
            await stores.observed.put([ObservedRow("k", "b", b"3"), ObservedRow("other", "a", b"4")])
            assert await stores.observed.read("k", ["a", "b", "c"]) == {"a": b"2", "b": b"3"}
            assert [row.name for row in await stores.observed.scan("k")] == ["a", "b"]
            before = await stores.observed.sequence()
            await stores.observed.delete("k", ["a", "never-there"])
            assert await stores.observed.read("k", ["a"]) == {}
            assert [row.name for row in await stores.observed.scan("k")] == ["b"]
            changes = await stores.observed.changes(before)
            assert (changes.rows, changes.deleted) == ((), (("k", "a"),))
            await stores.observed.put([ObservedRow("k", "a", b"again")])
            assert (await stores.observed.changes(before)).deleted == ()
            assert await stores.observed.read("other", ["a"]) == {"a": b"4"}

    @scenario
    async def test_what_is_observed_later_counts_though_the_one_before_is_still_being_written(
        self, opened: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(observed, "CHANGES_MAX", 3)
        async with opened() as stores:
            before = await stores.observed.sequence()
            async with asyncio.TaskGroup() as tasks:
                for number in range(20):
                    for name in "abcde":
                        tasks.create_task(stores.observed.put([ObservedRow("k", name, b"%d" % number)]))
                    tasks.create_task(stores.observed.delete("k", ["d", "e"]))
                tasks.create_task(stores.observed.put([ObservedRow("k", "e", b"again")]))
            found = await stores.observed.read("k", "abcde")
            assert found == {"a": b"19", "b": b"19", "c": b"19", "e": b"again"}
            changes = await stores.observed.changes(before)
            assert {row.name for row in changes.rows} == {"a", "b", "c", "e"}

    @scenario
    async def test_deleting_an_observation_wakes_and_deleting_none_does_not(self, opened: Open) -> None:
        async with opened() as stores:
            await stores.observed.put([ObservedRow("k", "a", b"1")])
            before = await stores.observed.sequence()
            await stores.observed.delete("k", ["a"])
            woken_at = await _first(stores.observed.watch(before))
            await stores.observed.delete("k", ["a"])
            assert (await stores.observed.changes(woken_at)).deleted == ()

    @scenario
    async def test_observed_deletions_are_forgotten_in_the_end(
        self, opened: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(observed, "TOMBSTONES_MAX", 2)
        async with opened() as stores:
            await stores.observed.put([ObservedRow("k", name, b"") for name in "abcd"])
            for name in "abc":
                await stores.observed.delete("k", [name])
            assert [name for _, name in (await stores.observed.changes(0)).deleted] == ["b", "c"]

    @scenario
    async def test_observations_are_scanned_by_prefix(self, opened: Open) -> None:
        async with opened() as stores:
            rows = [ObservedRow("k", name, b"") for name in ("s/1/p", "s/1/q", "s/10/p")]
            await stores.observed.put(rows)
            assert [row.name for row in await stores.observed.scan("k", "s/1/")] == ["s/1/p", "s/1/q"]

    @scenario
    async def test_an_unchanged_observation_wakes_nobody(self, opened: Open) -> None:
        async with opened() as stores:
            await stores.observed.put([ObservedRow("k", "a", b"1")])
            before = await stores.observed.sequence()
            await stores.observed.put([ObservedRow("k", "a", b"1")])
            assert await stores.observed.sequence() == before
            await stores.observed.put([ObservedRow("k", "a", b"2"), ObservedRow("k", "b", b"1")])
            changes = await stores.observed.changes(before)
            assert {row.name for row in changes.rows} == {"a", "b"}
            assert changes.sequence == await stores.observed.sequence()
            assert await _first(stores.observed.watch(before)) == changes.sequence

    @scenario
    async def test_events_are_listed_newest_first_by_owner_and_page(self, opened: Open) -> None:
        async with opened() as stores:
            await stores.events.append([event("p/a", "ONE"), event("p/a/x", "TWO")])
            await stores.events.append([event("p/ab", "THREE")])
            assert [e.reason for e in await stores.events.newest()] == ["THREE", "TWO", "ONE"]
            assert [e.reason for e in await stores.events.newest("p/a")] == ["TWO", "ONE"]
            first = await stores.events.newest(limit=1)
            rest = await stores.events.newest(before=first[0].id)
            assert [e.reason for e in rest] == ["TWO", "ONE"]

    @scenario
    async def test_events_that_are_told_at_once_are_all_kept(self, opened: Open) -> None:
        async with opened() as stores:
            told = [EventRow(number, "r", "REASON", "", "test") for number in range(40)]
            await asyncio.gather(*(stores.events.append([event]) for event in told))
            kept = await stores.events.newest("r")
            assert sorted(event.time_unix_ms for event in kept) == list(range(40))
            assert len({event.id for event in kept}) == 40

    @scenario
    async def test_an_event_that_arrives_twice_is_kept_once(self, opened: Open) -> None:
        async with opened() as stores:
            await stores.events.append([event("a", "ONE", key="agent/1"), event("a", "TWO")])
            await stores.events.append([event("a", "ONE", key="agent/1"), event("a", "THREE", key="agent/2")])
            assert [e.reason for e in await stores.events.newest()] == ["THREE", "TWO", "ONE"]

    @scenario
    async def test_the_audit_log_is_read_newest_first_by_what_by_whom_and_by_page(self, opened: Open) -> None:
        async with opened() as stores:
            for row in (
                audited("p/a", "users/anna", 1000),
                audited("p/a/x", "users/bert", 2000, code="PERMISSION_DENIED"),
                audited("p/ab", "users/anna", 3000, method="ThingService/DeleteThing"),
            ):
                await stores.audit.append(row)

            async def found(**wanted: Any) -> list[int]:
                return [row.time_unix_ms for row in await stores.audit.newest(AuditFilter(**wanted))]

            assert await found() == [3000, 2000, 1000]
            assert await found(resource="p/a") == [2000, 1000]
            assert await found(subject="users/anna") == [3000, 1000]
            assert await found(failed_only=True) == [2000]
            assert await found(method="DeleteThing") == await found(method="ThingService/DeleteThing") == [3000]
            assert await found(method="Thing") == []
            assert await found(since_ms=2000, until_ms=3000) == [2000]
            assert await found(resource="p/a", subject="users/anna", failed_only=True) == []
            first = await stores.audit.newest(AuditFilter(), limit=1)
            rest = await stores.audit.newest(AuditFilter(), before=first[0].id)
            assert [row.time_unix_ms for row in rest] == [2000, 1000]

    @scenario
    async def test_the_audit_log_is_bounded_and_refusals_push_out_only_refusals(
        self, opened: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(audit, "PRUNED_EVERY", 1)
        monkeypatch.setattr(audit, "FAILED_MAX", 3)
        monkeypatch.setattr(audit, "ENTRIES_MAX", 20)
        async with opened() as stores:
            day_ms = 24 * 3600 * 1000
            await stores.audit.append(audited("old", "users/anna", day_ms))
            await stores.audit.append(audited("kept", "users/anna", 2 * day_ms))
            for number in range(10):
                row = audited(f"refused-{number}", "", 2 * day_ms, code="UNAUTHENTICATED")
                await stores.audit.append(row)
            assert [row.resource for row in await stores.audit.newest(AuditFilter())] == [
                *("refused-9", "refused-8", "refused-7"),
                *("kept", "old"),
            ]
            await stores.audit.append(audited("new", "users/anna", (audit.KEPT_DAYS + 1) * day_ms + 1))
            assert "old" not in [row.resource for row in await stores.audit.newest(AuditFilter())]
            for number in range(25):
                await stores.audit.append(audited(f"done-{number}", "users/anna", 500 * day_ms))
            assert len(await stores.audit.newest(AuditFilter())) == 20

    @scenario
    async def test_one_bad_event_harms_no_other_that_is_written_with_it(self, opened: Open) -> None:
        """PostgreSQL takes no NUL: the whole batch failed, and callers who had done nothing wrong lost theirs."""
        async with opened() as stores:
            told = [event(f"p/{number}", "GOOD") for number in range(5)]
            spoilt = EventRow(1000, "p/\0", "BA\0D", "a\ud800\0", "te\0st")
            keyed = event("p/keyed", "BAD", key="agent\0/1")
            outcomes = await asyncio.gather(
                *(stores.events.append([row]) for row in (*told, spoilt, keyed)), return_exceptions=True
            )
            assert outcomes[:-1] == [None] * 6
            assert isinstance(outcomes[-1], Invalid)
            kept = await stores.events.newest()
            assert sorted(row.resource for row in kept) == [*(f"p/{number}" for number in range(5)), "p/\ufffd"]
            (mended,) = await stores.events.newest("p/\0")
            assert (mended.reason, mended.message, mended.source) == ("BA\ufffdD", "a\ufffd\ufffd", "te\ufffdst")

    @scenario
    async def test_one_bad_audit_entry_harms_no_other_that_is_written_with_it(self, opened: Open) -> None:
        async with opened() as stores:
            rows = [audited(resource, "users/\0", 1000) for resource in ("p/a", "p/\0", "p/\udfff", "p/b")]
            await asyncio.gather(*(stores.audit.append(row) for row in rows))
            kept = await stores.audit.newest(AuditFilter(subject="users/\0"))
            assert [row.resource for row in kept] == ["p/b", "p/\ufffd", "p/\ufffd", "p/a"]
            assert len(await stores.audit.newest(AuditFilter(resource="p/\0"))) == 2
            assert await stores.audit.newest(AuditFilter(method="\0")) == []

    @scenario
    async def test_no_row_for_people_is_larger_than_a_page(self, opened: Open) -> None:
        """An entry of the audit log held whatever a stranger had written into the name of a project."""
        async with opened() as stores:
            long = "ä" * 100_000
            await stores.events.append([EventRow(1000, long, long, long, long)])
            await stores.audit.append(AuditRow(1000, *[long] * 8, failed=True))
            told: list[EventRow | AuditRow] = [
                *await stores.events.newest(long),
                *await stores.audit.newest(AuditFilter()),
            ]
            assert len(told) == 2
            for row in told:
                texts = [value for value in dataclasses.asdict(row).values() if isinstance(value, str)]
                assert sum(len(text.encode()) for text in texts) < 8000
                assert all(text.endswith("…") for text in texts if text)

    @scenario
    async def test_what_cannot_be_a_key_is_refused_and_not_found(self, opened: Open) -> None:
        async with opened() as stores:
            for name in ("a\0", "a\ud800", "ä", "a" * 5000):
                with pytest.raises(Invalid):
                    await stores.records.commit([put("good"), put(name)])
                with pytest.raises(Invalid):
                    await stores.observed.put([ObservedRow("k", name, b"x")])
                assert await stores.records.read(name) is None
                assert await stores.records.read_many([name, "good"]) == {}
                assert (await stores.records.scan(name)).records == ()
                assert await stores.observed.read("k", [name]) == {}
                assert await stores.observed.scan("k", name) == []
                assert await stores.minutes.query(name, since_minute=0, until_minute=1) == []
            assert await stores.records.revision() == 0

    @scenario
    async def test_who_asks_for_what_cannot_be_harms_nobody_who_asks_with_him(self, opened: Open) -> None:
        async with opened() as stores:
            await stores.records.commit([put("good")])
            await stores.observed.put([ObservedRow("k", "good", b"x")])
            asked = await asyncio.gather(*(stores.records.read(name) for name in ("good", "a\0", "good")))
            assert [record is not None for record in asked] == [True, False, True]
            read = await asyncio.gather(*(stores.observed.read("k", [name]) for name in ("good", "a\0", "good")))
            assert [len(found) for found in read] == [1, 0, 1]
            written = await asyncio.gather(
                *(stores.observed.put([ObservedRow("k", name, b"y")]) for name in ("good", "a\0", "other")),
                return_exceptions=True,
            )
            assert [type(outcome) for outcome in written] == [type(None), Invalid, type(None)]
            assert {row.name for row in await stores.observed.scan("k")} == {"good", "other"}

    @scenario
    async def test_minutes_are_kept_for_a_day(self, opened: Open) -> None:
        async with opened() as stores:
            day = 24 * 60
            append = functools.partial(stores.minutes.append, merge=bytes.__add__)
            await append([MinuteRow("p", 10, b"old"), MinuteRow("p", 11, b"x")], now_s=11 * 60)
            await append([MinuteRow("p", 11, b"y"), MinuteRow("q", 11, b"q")], now_s=12 * 60)
            found = await stores.minutes.query("p", since_minute=0, until_minute=12)
            assert [(row.minute, row.body) for row in found] == [(10, b"old"), (11, b"xy")]
            await append([MinuteRow("p", 11 + day, b"z")], now_s=(11 + day) * 60)
            found = await stores.minutes.query("p", since_minute=0, until_minute=11 + day)
            assert [row.minute for row in found] == [11]

    # ---- several control planes

    @scenario
    async def test_a_claim_has_one_holder_and_a_number_that_only_rises(self, opened: Open) -> None:
        async with opened() as stores:
            claims = stores.claims
            assert await claims.take("a", "one") == 1
            assert await claims.take("a", "two", above=7) == 8
            assert await claims.read(["a", "b"]) == {"a": Claim("a", "two", 8)}
            await claims.drop(["a"])
            assert await claims.read(["a"]) == {}
            epoch = await claims.take("a", "one")
            assert epoch > 8
            assert await claims.held_by("one") == {"a": epoch}

    @scenario
    async def test_claims_that_are_taken_at_once_have_numbers_of_their_own_above_what_was_asked(
        self, opened: Open
    ) -> None:
        async with opened() as stores:
            wishes = [(name, above) for above in (0, 50, 3) for name in "abc" for _ in range(4)]
            taken = await asyncio.gather(
                *(stores.claims.take(name, f"{number}", above=above) for number, (name, above) in enumerate(wishes))
            )
            assert all(epoch > above for epoch, (_, above) in zip(taken, wishes, strict=True))
            for name, claim in (await stores.claims.read("abc")).items():
                numbers = [epoch for epoch, (of, _) in zip(taken, wishes, strict=True) if of == name]
                assert len(set(numbers)) == len(numbers)
                assert claim.epoch == max(numbers)
                assert taken[int(claim.holder)] == claim.epoch
                assert await stores.claims.take(name, "later") > claim.epoch

    @scenario
    async def test_a_claim_is_taken_over_only_from_whom_it_was_seen_with(self, opened: Open) -> None:
        async with opened() as stores:
            claims = stores.claims
            first = await claims.take_over({"a": None, "b": None}, "one")
            assert first.keys() == {"a", "b"}
            assert await claims.take_over({"a": None, "c": None}, "two") == {"c": 1}
            seen = await claims.read(["a", "b"])
            taken = await asyncio.gather(*(claims.take_over(seen, who) for who in ("two", "three", "four")))
            (winner,) = [epochs for epochs in taken if epochs]
            assert winner.keys() == {"a", "b"}
            assert all(winner[name] > first[name] for name in winner)
            assert {claim.holder for claim in (await claims.read(["a", "b"])).values()}.isdisjoint({"one"})

    @scenario
    async def test_who_was_overtaken_writes_nothing_and_deletes_nothing(self, opened: Open) -> None:
        async with opened() as stores:
            ours = Fence("c", await stores.claims.take("c", "us"))
            await stores.observed.put([ObservedRow("k", "a", b"ours", ours), ObservedRow("k", "free", b"1")])
            theirs = Fence("c", await stores.claims.take("c", "them"))
            await stores.observed.put([ObservedRow("k", "a", b"late", ours), ObservedRow("k", "free", b"2")])
            assert await stores.observed.read("k", ["a", "free"]) == {"a": b"ours", "free": b"2"}
            await stores.observed.delete("k", ["a"], fence=ours)
            assert await stores.observed.read("k", ["a"]) == {"a": b"ours"}
            await stores.observed.put([ObservedRow("k", "a", b"theirs", theirs)])
            assert await stores.observed.read("k", ["a"]) == {"a": b"theirs"}
            await stores.claims.drop(["c"])
            await stores.observed.put([ObservedRow("k", "a", b"later still", theirs)])
            await stores.observed.delete("k", ["a"], fence=theirs)
            assert await stores.observed.read("k", ["a"]) == {"a": b"theirs"}

    @scenario
    async def test_the_roster_lists_who_gives_signs_of_life(self, opened: Open) -> None:
        async with opened() as stores:
            one, two = Peer("1", "run-1", "a:1", "b:1", "v"), Peer("2", "run-2", "a:2", "b:2", "v")
            await stores.roster.join(one)
            await stores.roster.join(two)
            assert await stores.roster.beat(one)
            first, second = await stores.roster.all()
            assert (first, second) == (replace(one, beats=1), two)
            await stores.roster.beat(two)
            assert not await stores.roster.remove(second)  # it lives after all
            assert await stores.roster.remove(first)
            assert not await stores.roster.beat(one)

    @scenario
    async def test_the_next_process_of_a_directory_takes_the_place_of_the_one_before(self, opened: Open) -> None:
        async with opened() as stores:
            before, after = Peer("1", "run-1", "a:1", "b:1", "v"), Peer("1", "run-2", "a:2", "b:1", "v")
            await stores.roster.join(before)
            await stores.roster.join(after)
            assert await stores.roster.all() == [after]
            assert not await stores.roster.beat(before)

    @scenario
    async def test_the_first_to_state_a_fact_has_stated_it(self, opened: Open) -> None:
        async with opened() as stores:
            assert await stores.facts.read("f") == ""
            assert await stores.facts.keep("f", "one") == "one"
            assert await stores.facts.keep("f", "two") == "one"
            assert await stores.facts.read("f") == "one"
            await stores.facts.change("f", "three")
            assert await stores.facts.read("f") == "three"


class DurableStoreSuite(StoreSuite):
    """For stores that outlive their process, and that several processes may open."""

    @scenario
    async def test_everything_is_there_after_a_restart(self, opened: Open) -> None:
        async with opened() as stores:
            await stores.records.commit([put("a")])
            await stores.observed.put([ObservedRow("k", "a", b"1")])
            incarnation, key = stores.records.incarnation, stores.token_key
            assert await stores.claims.take("c", "one") == 1
        async with opened() as stores:
            assert (stores.records.incarnation, stores.token_key) == (incarnation, key)
            assert await stores.records.revision() == 1
            assert await stores.observed.read("k", ["a"]) == {"a": b"1"}
            assert await stores.claims.take("c", "one") == 2

    @scenario
    async def test_a_commit_of_another_process_is_seen(self, opened: Open) -> None:
        async with opened() as ours, opened() as theirs:
            follower = asyncio.ensure_future(ours.follow())
            await theirs.records.commit([put("a")])
            await theirs.observed.put([ObservedRow("k", "a", b"1")])
            assert await _first(ours.records.watch(0)) == 1
            assert await _first(ours.observed.watch(0)) == 1
            follower.cancel()
            await asyncio.gather(follower, return_exceptions=True)

    @scenario
    async def test_two_processes_never_take_the_same_revision(self, opened: Open) -> None:
        async with opened() as one, opened() as two:
            revisions = await asyncio.gather(
                *(stores.records.commit([put(f"{n}")]) for n, stores in enumerate([one, two] * 6))
            )
            assert sorted(revisions) == list(range(1, 13))

    @scenario
    async def test_a_store_that_newer_software_has_only_added_to_is_opened(self, opened: Open) -> None:
        async with opened() as stores:
            await set_format(stores, "0999", needed=str(FORMAT))
            await stores.records.commit([put("a")])
        async with opened() as stores:
            assert await stores.records.revision() == 1

    @scenario
    async def test_a_store_of_a_format_that_takes_newer_software_is_refused(self, opened: Open) -> None:
        async with opened() as stores:
            await set_format(stores, "0999", needed="998")
        with pytest.raises(Precondition) as refused:
            async with opened():
                pass
        assert refused.value.reason == "STORE_TOO_NEW"
        assert "999" in refused.value.message
        assert "998" in refused.value.message


async def set_format(stores: Stores, number: str, *, needed: str) -> None:
    from sqlalchemy import text

    async with stores.records._database.write() as connection:  # type: ignore[attr-defined]
        await connection.execute(text("UPDATE alembic_version SET version_num = :n"), {"n": number})
        await connection.execute(text("UPDATE meta SET value = :n WHERE key = 'needs_format'"), {"n": needed})


def audited(
    resource: str, subject: str, time_unix_ms: int, *, code: str = "OK", method: str = "ThingService/UpdateThing"
) -> AuditRow:
    return AuditRow(time_unix_ms, subject, "", "10.0.0.7", method, resource, code, "", "{}", failed=code != "OK")


def event(resource: str, reason: str, key: str = "") -> EventRow:
    return EventRow(1000, resource, reason, "it happened", "test", key)


async def _first(numbers: Any) -> int:
    try:
        async with asyncio.timeout(5):
            return int(await anext(numbers))
    finally:
        await numbers.aclose()
