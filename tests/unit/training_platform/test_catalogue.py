"""What has to be told next."""

from hypothesis import given
from hypothesis import strategies as st

from training_platform.catalogue import Catalogue, Event, Found, changes, folded
from waypost.api.training.v1 import training_pb2

APPLICATIONS, MODELS, VERSIONS, CONTENTS = ("a", "b"), ("m", "n"), ("1", "2"), ("first", "second")


def version(key: tuple[str, str, str], content: str = "first") -> training_pb2.PublishedVersion:
    return training_pb2.PublishedVersion(application=key[0], model=key[1], version=key[2], description=content)


def found(versions: dict[tuple[str, str, str], str], unreadable: frozenset[tuple[str, ...]] = frozenset()) -> Found:
    return Found(
        {a: training_pb2.PublishedApplication(application=a) for a, _, _ in versions},
        {(a, m): training_pb2.PublishedModel(application=a, model=m) for a, m, _ in versions},
        {key: version(key, content) for key, content in versions.items()},
        (),
        unreadable,
    )


keys = st.tuples(st.sampled_from(APPLICATIONS), st.sampled_from(MODELS), st.sampled_from(VERSIONS))
looks = st.dictionaries(keys, st.sampled_from(CONTENTS)).map(found)
histories = st.lists(looks, max_size=6)


def told_after(history: list[Found]) -> tuple[Catalogue, list[Event]]:
    catalogue, events = Catalogue(), []
    for look in history:
        new, _ = changes(catalogue, look)
        for event in new:
            catalogue.apply(event)
        events += new
    return catalogue, events


def seen(catalogue: Catalogue) -> tuple[dict, dict]:
    """What a subscriber makes of it: descriptions aside, which no event takes back one by one."""
    return catalogue.applications, catalogue.versions


@given(histories)
def test_the_same_look_twice_has_nothing_to_tell(history):
    catalogue, _ = told_after(history)
    for look in history[-1:]:
        assert changes(catalogue, look)[0] == []


@given(histories)
def test_what_is_told_is_what_is_there_but_for_changed_versions(history):
    catalogue, _ = told_after(history)
    for look in history[-1:]:
        _, refused = changes(catalogue, look)
        changed = {tuple(problem.path.split("/")) for problem in refused}
        assert {k: v for k, v in catalogue.versions.items() if k not in changed} == {
            k: v for k, v in look.versions.items() if k not in changed
        }


@given(histories)
def test_a_version_never_changes_once_it_was_published(history):
    _, events = told_after(history)
    contents: dict[tuple[str, str, str], str] = {}
    for event in events:
        if event.HasField("version_published"):
            told = event.version_published
            assert (
                contents.setdefault((told.application, told.model, told.version), told.description) == told.description
            )


@given(histories, st.integers(0, 50), st.integers(0, 50))
def test_a_subscriber_that_resumes_anywhere_ends_where_all_others_do(history, stop, back):
    """It stops after some events, comes back with a sequence at or before that, and sees some events twice."""
    catalogue, events = told_after(history)
    stop = min(stop, len(events))
    resumed = folded([*events[:stop], *events[max(0, stop - back) :]])
    assert seen(resumed) == seen(catalogue)


@given(histories)
def test_a_snapshot_equals_the_events_that_led_to_it(history):
    catalogue, _ = told_after(history)
    assert seen(folded(catalogue.snapshot())) == seen(catalogue)
    again = folded(catalogue.as_events())
    assert (seen(again), again.withdrawn) == (seen(catalogue), catalogue.withdrawn)


@given(histories)
def test_parents_are_told_before_children(history):
    _, events = told_after(history)
    for index, event in enumerate(events):
        if event.HasField("version_published"):
            before = folded(events[:index])
            assert event.version_published.application in before.applications
            assert (event.version_published.application, event.version_published.model) in before.models


def test_what_cannot_be_read_is_neither_withdrawn_nor_published():
    key = ("a", "m", "1")
    catalogue, _ = told_after([found({key: "first"})])
    for unreadable in (("a",), ("a", "m"), key):
        assert changes(catalogue, found({}, frozenset({unreadable})))[0] == []
    others = frozenset({("b",), ("a", "n"), ("a", "m", "2")})
    assert [event.WhichOneof("event") for event in changes(catalogue, found({}, others))[0]] == ["version_withdrawn"]


def test_withdrawn_and_published_again_is_told_but_only_with_the_same_bytes():
    key = ("a", "m", "1")
    catalogue, _ = told_after([found({key: "first"}), found({})])
    events, refused = changes(catalogue, found({key: "second"}))
    assert not [event for event in events if event.HasField("version_published")]
    assert [problem.reason for problem in refused] == ["VERSION_CHANGED"]
    events, refused = changes(catalogue, found({key: "first"}))
    assert [event.WhichOneof("event") for event in events][-1] == "version_published"
    assert refused == []
