"""A command that changes something is carried out once, however often it is asked for, and ends as it did then."""

import pytest

from edge_agent.state.journal import KEPT_MAX, KEPT_S, Journal, Outcome, Outcomes
from waypost.errors import MeshError, NotFound


class Book:
    """What is written down, and a command that counts."""

    def __init__(self) -> None:
        self.page: Outcomes = ()
        self.done = 0
        self.error: MeshError | None = None
        self.journal = Journal((), self.keep)

    def keep(self, outcomes: Outcomes) -> None:
        self.page = tuple(Outcome.from_page(outcome.to_page()) for outcome in outcomes)

    def restart(self) -> None:
        self.journal = Journal(self.page, self.keep)

    def ask(self, id_: str, now_s: float = 0.0) -> None:
        self.journal.once(id_, self.act, now_s)

    def act(self) -> None:
        self.done += 1
        if self.error is not None:
            raise self.error


def test_the_same_id_is_done_once_also_after_a_restart() -> None:
    book = Book()
    book.ask("a")
    book.ask("a")
    book.restart()
    book.ask("a")
    assert book.done == 1
    book.ask("b")
    assert book.done == 2


def test_what_failed_fails_again_in_the_same_way_without_being_tried() -> None:
    book = Book()
    book.error = NotFound("NOT_REJECTED", "nothing of the kind", "see its status")
    for _ in range(2):
        with pytest.raises(NotFound) as refused:
            book.ask("a")
        assert (refused.value.reason, refused.value.hint) == ("NOT_REJECTED", "see its status")
        book.restart()
    assert book.done == 1


def test_the_journal_is_bounded_in_number_and_time() -> None:
    book = Book()
    for number in range(KEPT_MAX + 10):
        book.ask(str(number), now_s=float(number))
    assert [outcome.id for outcome in book.page] == [str(n) for n in range(10, KEPT_MAX + 10)]
    book.ask("late", now_s=KEPT_S + KEPT_MAX + 10)
    assert [outcome.id for outcome in book.page] == ["late"]
