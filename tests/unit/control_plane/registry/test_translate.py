"""Laws of hearing a training platform, on stores that are plain dictionaries."""

import dataclasses
import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from control_plane.registry.translate import Draft, Found, Origin, Target, translate
from control_plane.store import Record
from control_plane.store.resources import APPLICATION, MODEL, MODEL_VERSION, PROJECT, Stored
from waypost.api.control.v1.model_pb2 import (
    MODEL_VERSION_STATE_AVAILABLE,
    MODEL_VERSION_STATE_IMPORTING,
    MODEL_VERSION_STATE_INVALID,
    MODEL_VERSION_STATE_WITHDRAWN,
    ModelVersion,
)
from waypost.api.training.v1 import training_pb2 as pb

KINDS = {kind.kind: kind for kind in (PROJECT, APPLICATION, MODEL, MODEL_VERSION)}


class CountingIds:
    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def uuid(self) -> str:
        return f"uid-{next(self._numbers)}"


ORIGIN = Origin("subscriptions/lab", "projects/p", 1000.0, CountingIds(), frozenset({"subscriptions/other"}))


class Records:
    """A store without a database."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.revision = 0

    def find(self, kind: Any, name: str) -> Stored[Any] | None:
        record = self.records.get(name)
        return Stored(kind.decode(record), record.revision) if record else None

    def hear(self, event: pb.SubscribeResponse, origin: Origin = ORIGIN) -> Draft:
        target = Target.of(origin.project, event)
        found = Found(
            self.find(PROJECT, origin.project),
            self.find(APPLICATION, target.application),
            self.find(MODEL, target.model),
            self.find(MODEL_VERSION, target.version),
        )
        draft = translate(origin, event, target, found)
        for name, revision in draft.expect.items():
            assert revision == (self.records[name].revision if name in self.records else 0)
        self.write(draft)
        return draft

    def write(self, draft: Draft) -> None:
        self.revision += 1
        for put in draft.puts.values():
            self.records[put.name] = Record(put.name, put.kind, self.revision, put.body)

    def judge(self, state: int) -> None:
        """As the importer does: every version that is IMPORTING gets a verdict."""
        for name, record in list(self.records.items()):
            if record.kind == MODEL_VERSION.kind:
                version = MODEL_VERSION.decode(record)
                if version.state == MODEL_VERSION_STATE_IMPORTING:
                    version.state = state
                    self.records[name] = Record(name, record.kind, record.revision, version.SerializeToString())

    def versions(self) -> list[ModelVersion]:
        return [MODEL_VERSION.decode(r) for r in self.records.values() if r.kind == MODEL_VERSION.kind]


ids = st.sampled_from(["a", "b"])


@st.composite
def events(draw: st.DrawFn) -> pb.SubscribeResponse:
    application, model, version = draw(ids), draw(ids), draw(ids)
    files = [pb.PublishedFile(path="model.onnx", digest="sha256:" + draw(ids) * 64, size_bytes=1)]
    published = pb.PublishedVersion(
        application=application, model=model, version=version, files=files, framework="onnx"
    )
    key = pb.VersionKey(application=application, model=model, version=version)
    return draw(
        st.sampled_from(
            [
                pb.SubscribeResponse(application_published=pb.PublishedApplication(application=application)),
                pb.SubscribeResponse(model_published=pb.PublishedModel(application=application, model=model)),
                pb.SubscribeResponse(version_published=published),
                pb.SubscribeResponse(version_withdrawn=key),
            ]
        )
    )


@given(st.lists(events(), max_size=12))
def test_hearing_an_event_twice_is_hearing_it_once(heard: list[pb.SubscribeResponse]) -> None:
    records = Records()
    for event in heard:
        records.hear(event)
        assert records.hear(event).puts == {}


@given(st.lists(events(), max_size=12))
def test_the_bytes_of_a_version_never_change(heard: list[pb.SubscribeResponse]) -> None:
    records = Records()
    digests: dict[str, str] = {}
    for event in heard:
        records.hear(event)
        for version in records.versions():
            assert digests.setdefault(version.name, version.digest) == version.digest


@given(st.lists(events(), max_size=12))
def test_everything_has_its_owners_and_the_name_of_the_subscription(heard: list[pb.SubscribeResponse]) -> None:
    records = Records()
    for event in heard:
        records.hear(event)
    for name, record in records.records.items():
        owner = name.rpartition("/")[0].rpartition("/")[0]
        assert not owner or owner in records.records
        if record.kind != PROJECT.kind:
            assert KINDS[record.kind].decode(record).subscription == ORIGIN.subscription


@given(st.lists(events(), max_size=12), st.lists(events(), max_size=12))
def test_what_another_subscription_brought_is_never_touched(
    ours: list[pb.SubscribeResponse], theirs: list[pb.SubscribeResponse]
) -> None:
    records = Records()
    other = dataclasses.replace(ORIGIN, subscription="subscriptions/other", others=frozenset({ORIGIN.subscription}))
    for event in theirs:
        records.hear(event, other)
    before = dict(records.records)
    for event in ours:
        records.hear(event)
    for name, record in before.items():
        if record.kind != PROJECT.kind:
            assert records.records[name] == record


def test_an_invalid_version_is_tried_again_when_the_source_says_so_and_an_available_one_is_not() -> None:
    event = pb.SubscribeResponse(
        version_published=pb.PublishedVersion(
            application="a",
            model="m",
            version="1",
            files=[pb.PublishedFile(path="model.onnx", digest="sha256:" + "0" * 64, size_bytes=1)],
            framework="onnx",
        )
    )
    for verdict, puts in ((MODEL_VERSION_STATE_INVALID, 1), (MODEL_VERSION_STATE_AVAILABLE, 0)):
        records = Records()
        records.hear(event)
        records.judge(verdict)
        assert len(records.hear(event).puts) == puts


def test_withdrawing_what_was_never_published_changes_nothing() -> None:
    key = pb.VersionKey(application="a", model="m", version="1")
    assert Records().hear(pb.SubscribeResponse(version_withdrawn=key)).puts == {}


def test_a_withdrawn_version_keeps_everything_but_its_state() -> None:
    records = Records()
    version = pb.PublishedVersion(
        application="a",
        model="m",
        version="1",
        files=[pb.PublishedFile(path="model.onnx", digest="sha256:" + "0" * 64, size_bytes=1)],
        framework="onnx",
    )
    records.hear(pb.SubscribeResponse(version_published=version))
    records.judge(MODEL_VERSION_STATE_AVAILABLE)
    (before,) = records.versions()
    draft = records.hear(pb.SubscribeResponse(version_withdrawn=pb.VersionKey(application="a", model="m", version="1")))
    (after,) = records.versions()
    assert after.state == MODEL_VERSION_STATE_WITHDRAWN
    assert (after.digest, after.uid, after.artifacts) == (before.digest, before.uid, before.artifacts)
    assert [note.reason for note in draft.notes] == ["VERSION_WITHDRAWN"]
