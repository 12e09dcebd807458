"""Laws of the link's two machines, without any wire: what one sends, the other understands, whatever was lost."""

from hypothesis import given
from hypothesis import strategies as st

from mesh.link_core import (
    EMPTY,
    EVENTS_MAX,
    PROTOCOL_MAX,
    PROTOCOL_MIN,
    SAMPLES_MAX,
    Accepted,
    Broken,
    ChildCore,
    DesiredState,
    EventsArrived,
    Greeted,
    Item,
    Left,
    MetricsArrived,
    Offered,
    ParentCore,
    Refusal,
    StatusArrived,
    Welcomed,
    hash_of,
)
from waypost.api.link.v1 import command_pb2 as commands
from waypost.api.link.v1 import link_pb2 as pb

items = st.builds(Item, st.sampled_from("abcdef"), st.integers(1, 5), st.binary(max_size=8))
item_sets = st.lists(items, max_size=6, unique_by=lambda item: item.name)


def a_child(held: DesiredState = EMPTY) -> ChildCore:
    return ChildCore("edgeServers/e", "boot-1", held)


def a_parent() -> ParentCore:
    return ParentCore(now_s=0.0, lease_s=30.0, heartbeat_s=10.0)


class Pair:
    """A child and a parent on a perfect wire."""

    def __init__(
        self,
        child: ChildCore,
        desired: DesiredState,
        *,
        allow_prune: bool = True,
        refuses: frozenset[str] = frozenset(),
    ) -> None:
        """refuses: names of items that the child cannot take."""
        self.child, self.parent, self.refuses = child, a_parent(), refuses
        self.parent.desire(desired, allow_prune=allow_prune)
        self.seen: list[object] = []
        child.connect(0.0, 10.0)

    def settle(self) -> list[object]:
        """Passes messages until both are quiet; returns what the parent saw."""
        moved = True
        while moved:
            moved = self._up() or self._down()
        return self.seen

    def _up(self) -> bool:
        message = self.child.next_message(0.0)
        if message is None:
            return False
        for effect in self.parent.receive(message, 0.0):
            self.seen.append(effect)
            if self.parent.hello is not None and not self.parent.welcomed:
                self.parent.welcome(epoch=self.parent.hello.epoch + 1, now_s=0.0)
        return True

    def _down(self) -> bool:
        message = self.parent.next_message(0.0)
        if message is None:
            return False
        for effect in self.child.receive(message, 0.0):
            if isinstance(effect, Offered):
                items = effect.state.items.values()
                wrong = [Refusal(i.name, i.generation, pb.ItemError().error) for i in items if i.name in self.refuses]
                self.child.keep(self.child.merged(effect.state, [*effect.stale, *wrong]))
        return True


@given(item_sets, item_sets, st.booleans())
def test_the_child_ends_up_holding_what_is_desired_whatever_it_held(
    old: list[Item], new: list[Item], same: bool
) -> None:
    newer = [Item(item.name, item.generation + 5, item.body) for item in new]
    child = a_child(DesiredState.of("store", 1, old))
    target = DesiredState.of("store" if same else "other store", 2, newer)
    Pair(child, target).settle()
    assert (child.held.items, child.held.hash) == (target.items, target.hash)


@given(item_sets)
def test_equal_hashes_send_nothing(held: list[Item]) -> None:
    pair = Pair(a_child(DesiredState.of("store", 1, held)), DesiredState.of("store", 1, held))
    assert not [effect for effect in pair.settle() if isinstance(effect, Accepted)]


@given(item_sets)
def test_the_hash_does_not_depend_on_the_order(some: list[Item]) -> None:
    assert hash_of(some) == hash_of(reversed(some))


def test_what_the_child_holds_under_an_older_number_is_agreed_without_a_message() -> None:
    held = DesiredState.of("store", 1, [Item("a", 1, b"")])
    pair = Pair(a_child(held), DesiredState.of("store", 3, held.items.values()))  # 2 was taken back
    pair.settle()
    assert pair.parent.agreed == 3


def test_nothing_is_agreed_while_an_offer_is_unanswered() -> None:
    pair = Pair(a_child(), DesiredState.of("store", 1, [Item("a", 1, b"")]))
    pair.settle()
    assert pair.parent.agreed == 1
    pair.parent.desire(DesiredState.of("store", 2, []), allow_prune=True)
    assert pair.parent.agreed is None
    pair.parent.next_message(0.0)
    pair.parent.desire(DesiredState.of("store", 3, [Item("a", 1, b"")]), allow_prune=True)
    assert pair.parent.agreed is None  # it may hold nothing by now


def test_a_second_change_travels_as_a_difference() -> None:
    big = [Item(name, 1, b"x" * 1000) for name in "abc"]
    pair = Pair(a_child(), DesiredState.of("store", 1, big))
    pair.settle()
    pair.parent.desire(DesiredState.of("store", 2, [*big[:2], Item("d", 1, b"y")]))
    message = pair.parent.next_message(0.0)
    assert message is not None
    assert message.desired.HasField("base")
    assert [item.name for item in message.desired.upserts] == ["d"]
    assert list(message.desired.removes) == ["c"]


def test_a_difference_that_does_not_fit_is_answered_with_a_snapshot() -> None:
    child = a_child()
    pair = Pair(child, DesiredState.of("store", 1, [Item("a", 1, b"")]))
    pair.settle()
    child.held = EMPTY  # the ledger was lost
    target = DesiredState.of("store", 2, [Item("a", 1, b""), Item("b", 1, b"")])
    pair.parent.desire(target)
    pair.settle()
    assert child.held == target


def test_an_older_generation_is_refused_and_the_newer_one_kept() -> None:
    child = a_child(DesiredState.of("store", 5, [Item("a", 7, b"new")]))
    pair = Pair(child, DesiredState.of("store", 6, [Item("a", 3, b"old")]))
    [accepted] = [effect for effect in pair.settle() if isinstance(effect, Accepted)]
    assert child.held.items["a"].body == b"new"
    assert "older than 7" in accepted.refusals[0].error.message


def test_a_snapshot_that_takes_everything_away_must_say_so() -> None:
    held = DesiredState.of("store", 5, [Item("a", 1, b"")])
    child = a_child(held)
    [accepted] = [e for e in Pair(child, EMPTY, allow_prune=False).settle() if isinstance(e, Accepted)]
    assert child.held == held
    assert "take away 1 of the 1 items" in accepted.refusals[0].error.message
    Pair(child, EMPTY, allow_prune=True).settle()
    assert child.held == EMPTY


def test_another_store_takes_nothing_away_unless_it_says_so() -> None:
    held = DesiredState.of("store", 5, [Item("a", 9, b""), Item("b", 9, b"")])
    fewer = DesiredState.of("restored store", 3, [Item("a", 2, b"old")])
    child = a_child(held)
    pair = Pair(child, fewer, allow_prune=False)
    [accepted] = [e for e in pair.settle() if isinstance(e, Accepted)]
    assert child.held == held
    assert accepted.refusals[0].name == ""
    assert "b among them" in accepted.refusals[0].error.message
    assert pair.parent.next_message(9.0) is None, "the same would be refused again"
    pair.parent.desire(fewer, allow_prune=True)
    pair.settle()
    assert child.held == fewer


def test_another_store_that_leaves_out_nothing_is_followed() -> None:
    child = a_child(DesiredState.of("store", 5, [Item("a", 9, b"")]))
    same = DesiredState.of("restored store", 3, [Item("a", 2, b"old"), Item("c", 1, b"")])
    Pair(child, same, allow_prune=False).settle()
    assert child.held == same


def test_another_store_sets_nothing_back_unless_it_says_so() -> None:
    held = DesiredState.of("store", 5, [Item("a", 9, b"2"), Item("b", 9, b"2")])
    child = a_child(held)
    child.sets_back = lambda item, before: item.body < before.body
    older = DesiredState.of("restored store", 3, [Item("a", 2, b"2"), Item("b", 2, b"1")])
    pair = Pair(child, older, allow_prune=False)
    [accepted] = [e for e in pair.settle() if isinstance(e, Accepted)]
    assert child.held == held
    assert "set back 1 of the 2 items that are held, b among them" in accepted.refusals[0].error.message
    caught_up = DesiredState.of("restored store", 4, [Item("a", 2, b"2"), Item("b", 4, b"2")])
    pair.parent.desire(caught_up)
    pair.settle()
    assert child.held == caught_up


def test_who_says_so_may_set_back() -> None:
    child = a_child(DesiredState.of("store", 5, [Item("a", 9, b"2")]))
    child.sets_back = lambda item, before: True
    older = DesiredState.of("restored store", 3, [Item("a", 2, b"1")])
    Pair(child, older, allow_prune=True).settle()
    assert child.held == older


def test_what_a_plan_of_the_same_store_takes_away_goes() -> None:
    child = a_child(DesiredState.of("store", 5, [Item("a", 1, b""), Item("b", 1, b"")]))
    fewer = DesiredState.of("store", 6, [Item("a", 1, b"")])
    Pair(child, fewer, allow_prune=False).settle()
    assert child.held == fewer


def test_a_refusal_is_told_in_every_session_until_it_is_mended() -> None:
    target = DesiredState.of("store", 2, [Item("a", 2, b"too new"), Item("b", 1, b"")])
    child = a_child()
    Pair(child, target, refuses=frozenset("a")).settle()
    assert [refusal.name for refusal in child.held.refused] == ["a"]
    again = Pair(child, target, refuses=frozenset("a"))
    assert not [effect for effect in again.settle() if isinstance(effect, Accepted)], "hashes are equal"
    assert again.parent.hello is not None
    assert [error.name for error in again.parent.hello.refused] == ["a"]


def test_a_newer_process_asks_once_more_for_what_the_one_before_refused() -> None:
    target = DesiredState.of("store", 2, [Item("a", 2, b"too new")])
    child = a_child()
    Pair(child, target, refuses=frozenset("a")).settle()
    upgraded = a_child(child.held)
    Pair(upgraded, target).settle()
    assert upgraded.held == target
    still_too_old = a_child(child.held)
    Pair(still_too_old, target, refuses=frozenset("a")).settle()
    quiet = Pair(still_too_old, target, refuses=frozenset("a"))
    assert not [effect for effect in quiet.settle() if isinstance(effect, Accepted)], "it asks once"


@given(st.integers(0, 4), st.integers(0, 4))
def test_two_that_share_a_protocol_version_speak_the_newest_of_those(low: int, span: int) -> None:
    parent = a_parent()
    hello = pb.Hello(identity="e", protocol_min=low, protocol_max=low + span)
    [effect] = parent.receive(pb.ChildMessage(hello=hello), 0.0)
    if low <= PROTOCOL_MAX and low + span >= PROTOCOL_MIN:
        parent.welcome(epoch=1, now_s=0.0)
        message = parent.next_message(0.0)
        assert message is not None
        assert message.welcome.protocol == min(PROTOCOL_MAX, low + span)
    else:
        assert isinstance(effect, Broken)
        assert effect.reason == "PROTOCOL"


def test_a_refused_item_leaves_the_last_good_one() -> None:
    child = a_child(DesiredState.of("store", 1, [Item("a", 1, b"good"), Item("b", 1, b"")]))
    state = DesiredState.of("store", 2, [Item("a", 2, b"bad"), Item("c", 1, b"")])
    merged = child.merged(state, [Refusal("a", 2, pb.ItemError().error)])
    assert merged.items == {"a": Item("a", 1, b"good"), "c": Item("c", 1, b"")}
    assert merged.hash == state.hash


def test_a_large_desired_state_travels_in_pieces_and_is_taken_whole() -> None:
    child = a_child()
    pair = Pair(child, DesiredState.of("store", 1, [Item(f"i{n}", 1, bytes(300_000)) for n in range(9)]))
    offers = 0
    pair._up()
    while (message := pair.parent.next_message(0.0)) is not None:
        offers += message.HasField("desired")
        effects = child.receive(message, 0.0)
        assert bool([e for e in effects if isinstance(e, Offered)]) == (
            message.HasField("desired") and not message.desired.more
        )
    assert offers >= 3


def test_an_older_epoch_is_fenced() -> None:
    child = a_child()
    child.epoch = 9
    child.connect(0.0, 10.0)
    child.next_message(0.0)
    [effect] = child.receive(pb.ParentMessage(welcome=pb.Welcome(protocol=1, epoch=8)), 0.0)
    assert isinstance(effect, Broken)
    assert effect.reason == "FENCED"


def test_status_is_coalesced_and_full_after_a_reconnect() -> None:
    child = a_child()
    child.report("p", b"1")
    child.report("p", b"2")
    child.report("q", b"1")
    first = [e for e in Pair(child, EMPTY).settle() if isinstance(e, StatusArrived)]
    assert [(e.full, {n: i.body for n, i in e.items.items()}) for e in first] == [(True, {"p": b"2", "q": b"1"})]
    child.retract("q")
    child.disconnect()
    [again] = [e for e in Pair(child, EMPTY).settle() if isinstance(e, StatusArrived)]
    assert again.full
    assert list(again.items) == ["p"]


def test_a_retraction_inside_a_session_is_told() -> None:
    child = a_child()
    child.report("p", b"1")
    pair = Pair(child, EMPTY)
    pair.settle()
    child.retract("p")
    last = pair.settle()[-1]
    assert isinstance(last, StatusArrived)
    assert not last.full
    assert last.items["p"].body == b""


def test_events_come_again_until_they_are_taken_and_the_ring_shows_its_gap() -> None:
    child = a_child()
    for n in range(EVENTS_MAX + 3):
        child.event(pb.ChildEvent(reason=f"R{n}"))
    arrived = [e for e in Pair(child, EMPTY).settle() if isinstance(e, EventsArrived)]
    sequences = [event.sequence for e in arrived for event in e.events]
    assert sequences == list(range(4, EVENTS_MAX + 4))
    assert [e.lost for e in arrived] == [3] + [0] * (len(arrived) - 1)
    child.disconnect()
    pair = Pair(child, EMPTY)
    again = [e for e in pair.settle() if isinstance(e, EventsArrived)]
    assert sum(len(e.events) for e in again) == EVENTS_MAX
    pair.parent.events_taken(sequences[-1])
    pair.settle()
    child.disconnect()
    assert not [e for e in Pair(child, EMPTY).settle() if isinstance(e, EventsArrived)]
    child.disconnect()
    for n in range(EVENTS_MAX + 5):
        child.event(pb.ChildEvent(reason=f"R{n}"))
    assert sum(e.lost for e in Pair(child, EMPTY).settle() if isinstance(e, EventsArrived)) == 5


def test_a_child_of_before_does_not_say_what_was_lost_before_a_session() -> None:
    parent = ParentCore(0.0, 30.0, 10.0)
    hello = pb.Hello(identity="child", boot_id="b", protocol_min=1, protocol_max=1)
    parent.receive(pb.ChildMessage(hello=hello), 0.0)
    for sequences, lost in (((7, 8), 0), ((9,), 0), ((12,), 2)):
        events = pb.Events(events=[pb.ChildEvent(sequence=sequence) for sequence in sequences])
        [arrived] = parent.receive(pb.ChildMessage(events=events), 0.0)
        assert isinstance(arrived, EventsArrived)
        assert arrived.lost == lost
    assert parent.receive(pb.ChildMessage(events=pb.Events()), 0.0) == []


def test_metrics_are_dropped_oldest_first_and_the_loss_is_counted() -> None:
    child = a_child()
    for n in range(SAMPLES_MAX + 2):
        child.sample(b"%d" % n)
    [metrics] = [e for e in Pair(child, EMPTY).settle() if isinstance(e, MetricsArrived)]
    assert metrics.samples[0] == b"2"
    assert metrics.dropped == 2


def test_silence_for_a_lease_ends_both_sides() -> None:
    pair = Pair(a_child(), EMPTY)
    pair.settle()
    assert not pair.parent.expired(29.9)
    assert pair.parent.expired(30.0)
    assert pair.child.expired(30.0)


def test_heartbeats_are_sent_when_nothing_else_is() -> None:
    pair = Pair(a_child(), EMPTY)
    pair.settle()
    assert pair.child.next_message(9.9) is None
    beat = pair.child.next_message(10.0)
    assert beat is not None
    assert beat.HasField("heartbeat")
    assert pair.child.next_message(10.1) is None


def test_an_unanswered_offer_is_made_again() -> None:
    pair = Pair(a_child(), DesiredState.of("store", 1, [Item("a", 1, b"")]))
    pair._up()
    kinds = [message.WhichOneof("kind") for message in iter(lambda: pair.parent.next_message(0.0), None)]
    assert kinds == ["welcome", "desired"]
    again = pair.parent.next_message(10.0)
    assert again is not None
    assert again.HasField("desired")


def test_goodbye_ends_the_session_with_its_reason() -> None:
    pair = Pair(a_child(), EMPTY)
    pair.settle()
    pair.parent.goodbye("SUPERSEDED", reconnect_after_s=2.5)
    message = pair.parent.next_message(0.0)
    assert message is not None
    assert pair.child.receive(message, 0.0) == [Left("SUPERSEDED", 2.5, "")]


def test_the_first_message_must_be_a_hello() -> None:
    [effect] = a_parent().receive(pb.ChildMessage(heartbeat=pb.Heartbeat()), 0.0)
    assert isinstance(effect, Broken)


def test_a_child_of_another_protocol_is_told() -> None:
    hello = pb.Hello(identity="x", protocol_min=2, protocol_max=3)
    [effect] = a_parent().receive(pb.ChildMessage(hello=hello), 0.0)
    assert isinstance(effect, Broken)
    assert "2..3" in effect.message


def test_the_welcome_sets_the_pulse_of_the_child() -> None:
    child = a_child()
    child.connect(0.0, 5.0)
    child.next_message(0.0)
    welcome = pb.Welcome(protocol=1, epoch=1)
    welcome.lease.FromMilliseconds(6000)
    welcome.heartbeat.FromMilliseconds(2000)
    assert child.receive(pb.ParentMessage(welcome=welcome), 1.0) == [Welcomed(1, 6.0, 2.0)]
    assert child.expired(7.0)
    assert not child.expired(6.9)


def test_a_child_that_must_wait_for_its_turn_is_told_so_and_waits() -> None:
    child, parent = a_child(), a_parent()
    child.connect(0.0, 10.0)
    hello = child.next_message(0.0)
    assert hello is not None
    [greeted] = parent.receive(hello, 1.0)
    assert isinstance(greeted, Greeted)
    for second in range(1, 301):
        if (down := parent.next_message(second)) is not None:
            assert child.receive(down, second) == []
        assert child.next_message(second) is None
        assert not child.expired(second)
        assert not parent.expired(second)
        assert not child.welcomed
    parent.welcome(1, 300.0)
    welcome = parent.next_message(301.0)
    assert welcome is not None
    assert child.receive(welcome, 301.0) == [Welcomed(1, 30.0, 10.0)]
    assert parent.next_s() == 311.0


def test_a_child_that_cannot_wait_hears_nothing_before_its_welcome() -> None:
    child, parent = a_child(), a_parent()
    child.capabilities = ()
    child.connect(0.0, 10.0)
    hello = child.next_message(0.0)
    assert hello is not None
    parent.receive(hello, 0.0)
    assert parent.next_message(29.0) is None
    assert child.expired(10.0)


def test_a_child_waits_no_longer_than_it_hears_that_it_shall() -> None:
    child = a_child()
    child.connect(0.0, 10.0)
    child.next_message(0.0)
    assert child.receive(pb.ParentMessage(heartbeat=pb.Heartbeat()), 9.0) == []
    assert not child.expired(18.9)
    assert child.expired(19.0)


def test_a_parent_that_waits_for_a_hello_does_not_look_again_before_its_lease() -> None:
    parent = a_parent()
    assert parent.next_message(10.0) is None
    assert parent.next_s() == 30.0


def test_a_command_that_the_wire_had_no_room_for_in_time_is_not_sent() -> None:
    pair = Pair(a_child(), EMPTY)
    pair.settle()
    late, patient = commands.Command(id="late"), commands.Command(id="patient")
    late.time_to_live.FromMilliseconds(2000)
    pair.parent.command(late, now_s=0.0)
    pair.parent.command(patient, now_s=0.0)
    assert pair.parent.overdue(1.9) == []
    assert pair.parent.overdue(2.0) == [late]
    message = pair.parent.next_message(2.0)
    assert message is not None
    assert message.command == patient
