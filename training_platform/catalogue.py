"""What has been told to subscribers, and what has to be told next. Pure.

A version that was published once never changes, withdrawn or not: other bytes under the same name are refused.
Taking a version back and giving the same one again are both changes; everything else about it is not.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from training_platform.manifest import Key, key_of
from waypost.api.training.v1 import training_pb2

Event = training_pb2.SubscribeResponse
ModelKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in the directory that is not published, and why."""

    path: str
    """Below the directory."""
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Found:
    """What one look at the directory saw."""

    applications: Mapping[str, training_pb2.PublishedApplication] = field(default_factory=dict)
    models: Mapping[ModelKey, training_pb2.PublishedModel] = field(default_factory=dict)
    versions: Mapping[Key, training_pb2.PublishedVersion] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    unreadable: frozenset[tuple[str, ...]] = frozenset()
    """(application,), (application, model) or a version's key: there, but broken. What was told of it stays."""

    def is_unclear(self, key: tuple[str, ...]) -> bool:
        """Whether `key`, what it is in or what is in it could not be read."""
        return any(key[: len(broken)] == broken[: len(key)] for broken in self.unreadable)


@dataclass(slots=True)
class Catalogue:
    """The sum of all events."""

    applications: dict[str, training_pb2.PublishedApplication] = field(default_factory=dict)
    models: dict[ModelKey, training_pb2.PublishedModel] = field(default_factory=dict)
    versions: dict[Key, training_pb2.PublishedVersion] = field(default_factory=dict)
    withdrawn: dict[Key, training_pb2.PublishedVersion] = field(default_factory=dict)

    def apply(self, event: Event) -> None:
        """Adds one event; adding it again changes nothing."""
        match event.WhichOneof("event"):
            case "application_published":
                self.applications[event.application_published.application] = event.application_published
            case "application_withdrawn":
                self._drop_application(event.application_withdrawn)
            case "model_published":
                self.models[event.model_published.application, event.model_published.model] = event.model_published
            case "version_published":
                key = key_of(event.version_published)
                self.versions[key] = event.version_published
                self.withdrawn.pop(key, None)
            case "version_withdrawn":
                self._withdraw(key_of(event.version_withdrawn))

    def snapshot(self) -> list[Event]:
        """What is published now, parents first."""
        return [
            *(Event(application_published=application) for _, application in sorted(self.applications.items())),
            *(Event(model_published=model) for _, model in sorted(self.models.items())),
            *(Event(version_published=version) for _, version in sorted(self.versions.items())),
        ]

    def as_events(self) -> list[Event]:
        """Events that make this catalogue out of an empty one."""
        events = self.snapshot()
        for key, version in sorted(self.withdrawn.items()):
            events += [Event(version_published=version), Event(version_withdrawn=_proto_key(key))]
        return events

    def _withdraw(self, key: Key) -> None:
        if version := self.versions.pop(key, None):
            self.withdrawn[key] = version

    def _drop_application(self, application: str) -> None:
        self.applications.pop(application, None)
        for model_key in [key for key in self.models if key[0] == application]:
            del self.models[model_key]
        for key in [key for key in self.versions if key[0] == application]:
            self._withdraw(key)


def folded(events: Iterable[Event]) -> Catalogue:
    catalogue = Catalogue()
    for event in events:
        catalogue.apply(event)
    return catalogue


def changes(told: Catalogue, found: Found) -> tuple[list[Event], list[Problem]]:
    """Events that bring `told` to `found`, parents first and withdrawals last, and versions that were changed."""
    events = [*_new_descriptions(told, found)]
    refused: list[Problem] = []
    for key, version in sorted(found.versions.items()):
        before = told.versions.get(key) or told.withdrawn.get(key)
        if before is not None and before != version:
            refused.append(_changed(key))
        elif key not in told.versions:
            events.append(Event(version_published=version))
    events += _withdrawals(told, found)
    return events, refused


def _new_descriptions(told: Catalogue, found: Found) -> Sequence[Event]:
    applications = [
        Event(application_published=application)
        for key, application in sorted(found.applications.items())
        if told.applications.get(key) != application
    ]
    models = [
        Event(model_published=model) for key, model in sorted(found.models.items()) if told.models.get(key) != model
    ]
    return applications + models


def _withdrawals(told: Catalogue, found: Found) -> Sequence[Event]:
    versions = [
        Event(version_withdrawn=_proto_key(key))
        for key in sorted(told.versions)
        if key not in found.versions and not found.is_unclear(key)
    ]
    applications = [
        Event(application_withdrawn=application)
        for application in sorted(told.applications)
        if application not in found.applications and not found.is_unclear((application,))
    ]
    return versions + applications


def _changed(key: Key) -> Problem:
    return Problem(
        "/".join(key),
        "VERSION_CHANGED",
        "its manifest is not the one that was published; a version never changes: give other bytes another version",
    )


def _proto_key(key: Key) -> training_pb2.VersionKey:
    return training_pb2.VersionKey(application=key[0], model=key[1], version=key[2])
