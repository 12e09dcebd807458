"""From what a training platform says to what the store should hold. Pure.

A subscription owns what it brought: models and versions that carry its name, or that of a subscription that is no
more. What somebody else made under the same name is left as it is, and an event says so; an application is only a
place, so it may be anybody's. A version that is here already is never changed: the same bytes again only have their
check repeated where it failed, other bytes under the same name are refused. That makes every event safe to hear twice.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from control_plane.conditions import failed
from control_plane.domain.check import check_model_version
from control_plane.registry.versions import ARTIFACTS_STORED, check_files
from control_plane.store.base import Put
from control_plane.store.resources import APPLICATION, MODEL, MODEL_VERSION, PROJECT, Kind, Stored
from mesh.clock import Ids
from mesh.packages import version_digest
from mesh.times import timestamp
from waypost import names
from waypost.api.control.v1.application_pb2 import Application
from waypost.api.control.v1.model_pb2 import (
    MODEL_VERSION_STATE_IMPORTING,
    MODEL_VERSION_STATE_INVALID,
    MODEL_VERSION_STATE_WITHDRAWN,
    Artifact,
    Model,
    ModelVersion,
    ModelVersionState,
    Signature,
    TensorSpec,
)
from waypost.api.control.v1.project_pb2 import Project
from waypost.api.training.v1.training_pb2 import (
    IDEMPOTENCY_IDEMPOTENT,
    IDEMPOTENCY_UNSPECIFIED,
    PublishedApplication,
    PublishedModel,
    PublishedTensor,
    PublishedVersion,
    SubscribeResponse,
)
from waypost.errors import Invalid

M = TypeVar("M", Project, Application, Model, ModelVersion)
Described = TypeVar("Described", Application, Model)


@dataclass(frozen=True, slots=True)
class Origin:
    """Who speaks: the subscription and the project that it fills (full names), when, and luck for uids."""

    subscription: str
    project: str
    now: float
    ids: Ids
    others: frozenset[str] = frozenset()
    """Other subscriptions that exist."""

    def may_own(self, before: "Stored[Application] | Stored[Model] | Stored[ModelVersion] | None") -> bool:
        """Whether it is this subscription's to write: new, its own, or left behind by one that was deleted."""
        return before is None or before.message.subscription not in ("", *self.others)


@dataclass(frozen=True, slots=True)
class Target:
    """Full names that an event speaks of, as far down as it goes; empty below."""

    application: str = ""
    model: str = ""
    version: str = ""

    @classmethod
    def of(cls, project: str, event: SubscribeResponse) -> "Target":
        """Raises Invalid (BAD_ID) where the source uses ids that we cannot."""
        match event.WhichOneof("event"):
            case "application_published":
                return cls._named(project, event.application_published.application)
            case "application_withdrawn":
                return cls._named(project, event.application_withdrawn)
            case "model_published":
                return cls._named(project, event.model_published.application, event.model_published.model)
            case "version_published":
                version = event.version_published
                return cls._named(project, version.application, version.model, version.version)
            case "version_withdrawn":
                key = event.version_withdrawn
                return cls._named(project, key.application, key.model, key.version)
            case _:
                return cls()

    @classmethod
    def _named(cls, project: str, *ids: str) -> "Target":
        full, path = project, []
        for collection, id_ in zip(("applications", "models", "versions"), ids, strict=False):
            names.check_id(id_, collection)
            full = f"{full}/{collection}/{id_}"
            path.append(full)
        return cls(*path)


@dataclass(frozen=True, slots=True)
class Found:
    """What the store holds of a target now."""

    project: Stored[Project] | None = None
    application: Stored[Application] | None = None
    model: Stored[Model] | None = None
    version: Stored[ModelVersion] | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """Something that people should hear of."""

    resource: str
    reason: str
    message: str


@dataclass(slots=True)
class Draft:
    """What an event changes, with the revisions that it was read at (0: did not exist)."""

    puts: dict[str, Put] = field(default_factory=dict)
    expect: dict[str, int] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)

    def put(self, kind: Kind[M], message: M, before: Stored[M] | None) -> None:
        self.puts[message.name] = kind.encode(message.name, message)
        self.expect[message.name] = before.revision if before else 0


def translate(origin: Origin, event: SubscribeResponse, target: Target, found: Found) -> Draft:
    """What a publication, or the withdrawal of one version, changes."""
    draft = Draft()
    match event.WhichOneof("event"):
        case "application_published":
            _publish_application(draft, origin, event.application_published, target, found)
        case "model_published":
            _publish_model(draft, origin, event.model_published, target, found)
        case "version_published":
            _publish_version(draft, origin, event.version_published, target, found)
        case "version_withdrawn" if found.version is not None:
            withdraw(draft, origin, [found.version])
    return draft


def withdraw(draft: Draft, origin: Origin, versions: Iterable[Stored[ModelVersion]]) -> None:
    """The source took these back: those that are ours are WITHDRAWN. Where they serve they serve on."""
    for before in versions:
        if before.message.subscription == origin.subscription:
            _set_state(draft, origin, before, MODEL_VERSION_STATE_WITHDRAWN)


def _publish_application(
    draft: Draft, origin: Origin, published: PublishedApplication, target: Target, found: Found
) -> None:
    if found.project is None:
        project = Project(name=origin.project, uid=origin.ids.uuid())
        _touch(project, origin.now, created=True)
        draft.put(PROJECT, project, None)
    fresh = Application(name=target.application, uid=origin.ids.uuid(), subscription=origin.subscription)
    if origin.may_own(found.application):
        _describe(draft, origin, APPLICATION, fresh, found.application, published)


def _publish_model(draft: Draft, origin: Origin, published: PublishedModel, target: Target, found: Found) -> None:
    if found.application is None:
        place = PublishedApplication(application=published.application)
        _publish_application(draft, origin, place, target, found)
    if not origin.may_own(found.model):
        draft.notes.append(_taken(target.model, origin))
        return
    fresh = Model(name=target.model, uid=origin.ids.uuid(), subscription=origin.subscription)
    _describe(draft, origin, MODEL, fresh, found.model, published)


def _publish_version(draft: Draft, origin: Origin, published: PublishedVersion, target: Target, found: Found) -> None:
    if found.model is None:
        place = PublishedModel(application=published.application, model=published.model)
        _publish_model(draft, origin, place, target, found)
    if not (origin.may_own(found.model) and origin.may_own(found.version)):
        draft.notes.append(_taken(target.version, origin))
    elif found.version is None:
        draft.put(MODEL_VERSION, _version(origin, published, target.version), None)
    elif found.version.message.digest != _digest(published):
        message = f"the source now has other bytes under this name ({_digest(published)}); the old ones are kept"
        draft.notes.append(Note(target.version, "VERSION_CHANGED_AT_SOURCE", message))
    elif found.version.message.state in (MODEL_VERSION_STATE_WITHDRAWN, MODEL_VERSION_STATE_INVALID):
        _set_state(draft, origin, found.version, MODEL_VERSION_STATE_IMPORTING)
    elif found.version.message.subscription != origin.subscription:
        _set_state(draft, origin, found.version, found.version.message.state)


def _describe(
    draft: Draft,
    origin: Origin,
    kind: Kind[Described],
    fresh: Described,
    before: Stored[Described] | None,
    published: PublishedApplication | PublishedModel,
) -> None:
    """Writes what the source says for people, unless it stands there already. Labels and all else stay ours."""
    after = type(fresh)()
    after.CopyFrom(before.message if before else fresh)
    after.display_name, after.description = published.display_name, published.description
    after.subscription = origin.subscription
    if before is None or after != before.message:
        _touch(after, origin.now, created=before is None)
        draft.put(kind, after, before)


def _version(origin: Origin, published: PublishedVersion, name: str) -> ModelVersion:
    version = ModelVersion(
        name=name,
        uid=origin.ids.uuid(),
        artifacts=_artifacts(published),
        framework=published.framework,
        template_class=published.template_class,
        signature=Signature(inputs=map(_tensor, published.inputs), outputs=map(_tensor, published.outputs)),
        metrics=dict(published.metrics),
        idempotent=_idempotent(published),
        keeps_state=published.keeps_state,
        state=MODEL_VERSION_STATE_IMPORTING,
        subscription=origin.subscription,
        publish_time=published.publish_time if published.HasField("publish_time") else timestamp(origin.now),
        description=published.description,
        digest=_digest(published),
    )
    _touch(version, origin.now, created=True)
    try:
        check_model_version(version)
        check_files(version)
    except Invalid as error:  # the source's mistake must be seen, and must not stop what comes after it
        version.state = MODEL_VERSION_STATE_INVALID
        version.conditions.append(failed(ARTIFACTS_STORED, error, now=origin.now))
    return version


def _set_state(draft: Draft, origin: Origin, before: Stored[ModelVersion], state: ModelVersionState.ValueType) -> None:
    """And makes it ours. What its conditions said of the state before goes with it."""
    after = ModelVersion()
    after.CopyFrom(before.message)
    after.subscription = origin.subscription
    if after.state != state:
        after.state = state
        after.ClearField("conditions")
    if after == before.message:
        return
    _touch(after, origin.now)
    draft.put(MODEL_VERSION, after, before)
    if state == MODEL_VERSION_STATE_WITHDRAWN:
        draft.notes.append(Note(after.name, "VERSION_WITHDRAWN", f"{names.short(origin.subscription)} withdrew it"))


def _touch(message: Project | Application | Model | ModelVersion, now: float, *, created: bool = False) -> None:
    if created:
        message.create_time.CopyFrom(timestamp(now))
    message.update_time.CopyFrom(timestamp(now))


def _taken(name: str, origin: Origin) -> Note:
    message = (
        f"{names.short(origin.subscription)} publishes it, but it was not made by this subscription: left as it is"
    )
    return Note(name, "NAME_TAKEN", message)


def _artifacts(published: PublishedVersion) -> list[Artifact]:
    return [
        Artifact(path=file.path, digest=file.digest, size_bytes=file.size_bytes, media_type=file.media_type)
        for file in published.files
    ]


def _digest(published: PublishedVersion) -> str:
    return version_digest(_artifacts(published))


def _tensor(tensor: PublishedTensor) -> TensorSpec:
    return TensorSpec(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)


def _idempotent(published: PublishedVersion) -> bool:
    if published.idempotency == IDEMPOTENCY_UNSPECIFIED:
        return published.framework == "onnx"
    return published.idempotency == IDEMPOTENCY_IDEMPOTENT
