"""What every method of the API needs: the one table that says who may do what. Pure.

A row names the role and where the caller must have it:

    open_to_all()             no credential: the call carries its own, or is a question of health
    anybody()                 any good credential
    anywhere(ROLE)            in some project or everywhere: things that belong to no project and are shared by all
    everywhere(ROLE)          everywhere
    within(ROLE, "field")     in the project of the resource that the request names in that field; everywhere for what
                              belongs to no single project (`edgeServers/e`, `projects/-`, nothing at all)
    shown(ROLE, "field")      the same for reading many: `-` and nothing mean whatever the caller may see, and the
                              service leaves out the rest (`Caller.sees`)
    of_owner("field", ...)    credentials: it depends on what they belong to
    oneself_or(ROLE, "field") the caller is the user that the field names, or has the role everywhere

A method that is not here is refused to everybody. A test holds the table against the services' descriptors.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from control_plane.access.roles import EVERYWHERE, Caller, project_of
from waypost import names
from waypost.api.control.v1.role_pb2 import ROLE_ADMIN, ROLE_DEVELOPER, ROLE_OPERATOR, ROLE_VIEWER, Role
from waypost.errors import Denied

ANYWHERE = "-"
"""In the place of a project: some project or everywhere will do."""

Place = str
"""A project, EVERYWHERE or ANYWHERE."""
RoleThere = tuple[Role.ValueType, Place]


@dataclass(frozen=True, slots=True)
class Needs:
    """What a method needs. places: (role, place) for each that the request touches; all of them must be had."""

    words: str
    """For docs/reference/access.md."""
    places: Callable[[Any, Caller], Iterable[RoleThere]]
    is_open: bool = False


def open_to_all() -> Needs:
    return Needs("nothing", lambda request, caller: (), is_open=True)


def anybody() -> Needs:
    return Needs("any credential", lambda request, caller: ())


def anywhere(role: Role.ValueType) -> Needs:
    return Needs(f"{word(role)} in any project", lambda request, caller: [(role, ANYWHERE)])


def everywhere(role: Role.ValueType) -> Needs:
    return Needs(f"{word(role)} everywhere", lambda request, caller: [(role, EVERYWHERE)])


def within(role: Role.ValueType, field: str) -> Needs:
    def places(request: Any, caller: Caller) -> Iterable[RoleThere]:
        return [(role, project_of(_get(request, field)))]

    return Needs(f"{word(role)} in the project of `{field}`", places)


def shown(role: Role.ValueType, field: str) -> Needs:
    def places(request: Any, caller: Caller) -> Iterable[RoleThere]:
        value = _get(request, field)
        wanted = [value] if isinstance(value, str) else list(value) or [""]
        return [(role, project_of(name) or ANYWHERE) for name in wanted]

    return Needs(f"{word(role)} in the project of `{field}`, or in any: shows what the caller may see", places)


def of_owner(field: str, **roles: Role.ValueType) -> Needs:
    """field: `parent`, or `name` of what has one. roles: by the owner's collection; ADMIN for all others."""

    def places(request: Any, caller: Caller) -> Iterable[RoleThere]:
        owner = _get(request, field) if field == "parent" else names.parent(_get(request, field))
        collection = "".join(owner.split("/")[-2:-1])
        return [(roles.get(collection, ROLE_ADMIN), project_of(owner))]

    each = ", ".join(f"{word(role)} for one of {collection}" for collection, role in roles.items())
    return Needs(f"in the project of `{field}`: {each}, else {word(ROLE_ADMIN)}", places)


def oneself_or(role: Role.ValueType, field: str) -> Needs:
    def places(request: Any, caller: Caller) -> Iterable[RoleThere]:
        user = "/".join(_get(request, field).split("/")[:2])
        return [] if user.startswith("users/") and user == caller.name else [(role, EVERYWHERE)]

    return Needs(f"being the user of `{field}`, or {word(role)} everywhere", places)


def word(role: Role.ValueType) -> str:
    """`operator`."""
    return Role.Name(role).removeprefix("ROLE_").lower()


VIEWER, DEVELOPER, OPERATOR, ADMIN = ROLE_VIEWER, ROLE_DEVELOPER, ROLE_OPERATOR, ROLE_ADMIN

_CREDENTIALS = {"applications": DEVELOPER, "edgeServers": OPERATOR}

# fmt: off
_API: dict[str, dict[str, Needs]] = {
    "ApplicationService": {
        "GetApplication":       within(VIEWER, "name"),
        "ListApplications":     shown(VIEWER, "parent"),
        "CreateApplication":    within(DEVELOPER, "parent"),
        "UpdateApplication":    within(DEVELOPER, "application.name"),
        "DeleteApplication":    within(DEVELOPER, "name"),
    },
    "ArtifactService": {
        "WriteArtifact":        anywhere(DEVELOPER),
    },
    "AuditService": {
        "ListAuditEntries":     within(ADMIN, "resource"),
    },
    "AuthorityService": {
        "GetAuthority":         anywhere(VIEWER),
        "RotateAuthority":      everywhere(ADMIN),
        "FinishAuthorityRotation": everywhere(ADMIN),
    },
    "CredentialService": {
        "CreateCredential":     of_owner("parent", **_CREDENTIALS),
        "ListCredentials":      of_owner("parent", **_CREDENTIALS),
        "RotateCredential":     of_owner("name", **_CREDENTIALS),
        "DeleteCredential":     of_owner("name", **_CREDENTIALS),
    },
    "EdgeServerService": {
        "GetEdgeServer":        anywhere(VIEWER),
        "ListEdgeServers":      anywhere(VIEWER),
        "CreateEdgeServer":     everywhere(OPERATOR),
        "UpdateEdgeServer":     everywhere(OPERATOR),
        "DeleteEdgeServer":     everywhere(OPERATOR),
        "ConfirmDesiredState":  everywhere(OPERATOR),
        "RevokeEdgeServer":     everywhere(OPERATOR),
    },
    "EventService": {
        "ListEvents":           shown(VIEWER, "resource"),
    },
    "ModelService": {
        "GetModel":             within(VIEWER, "name"),
        "ListModels":           shown(VIEWER, "parent"),
        "CreateModel":          within(DEVELOPER, "parent"),
        "UpdateModel":          within(DEVELOPER, "model.name"),
        "DeleteModel":          within(DEVELOPER, "name"),
        "GetModelVersion":      within(VIEWER, "name"),
        "ListModelVersions":    shown(VIEWER, "parent"),
        "CreateModelVersion":   within(DEVELOPER, "parent"),
        "UpdateModelVersion":   within(DEVELOPER, "model_version.name"),
        "DeleteModelVersion":   within(DEVELOPER, "name"),
    },
    "PlatformService": {
        "GetPlatform":          anybody(),
    },
    "PositionService": {
        "GetPosition":          within(VIEWER, "name"),
        "ListPositions":        shown(VIEWER, "parent"),
        "CreatePosition":       within(OPERATOR, "parent"),
        "UpdatePosition":       within(OPERATOR, "position.name"),
        "DeletePosition":       within(OPERATOR, "name"),
        "ClearRejection":       within(OPERATOR, "name"),
        "WatchPositionMetrics": within(VIEWER, "name"),
        "ReadPositionLogs":     within(VIEWER, "name"),
        "TryPosition":          within(DEVELOPER, "name"),
    },
    "ProjectService": {
        "GetProject":           within(VIEWER, "name"),
        "ListProjects":         anywhere(VIEWER),
        "CreateProject":        everywhere(ADMIN),
        "UpdateProject":        everywhere(ADMIN),
        "DeleteProject":        everywhere(ADMIN),
    },
    "RoleBindingService": {
        "GetRoleBinding":       within(ADMIN, "name"),
        "ListRoleBindings":     within(ADMIN, "parent"),
        "CreateRoleBinding":    within(ADMIN, "parent"),
        "DeleteRoleBinding":    within(ADMIN, "name"),
    },
    "SessionService": {
        "Login":                open_to_all(),  # the password is in the request
        "Logout":               anybody(),
        "WhoAmI":               anybody(),
        "ListSessions":         oneself_or(ADMIN, "parent"),
        "DeleteSession":        oneself_or(ADMIN, "name"),
    },
    "SubscriptionService": {
        "GetSubscription":      everywhere(VIEWER),
        "ListSubscriptions":    everywhere(VIEWER),
        "CreateSubscription":   everywhere(OPERATOR),
        "DeleteSubscription":   everywhere(OPERATOR),
    },
    "UserService": {
        "GetUser":              oneself_or(ADMIN, "name"),
        "ListUsers":            everywhere(ADMIN),
        "CreateUser":           everywhere(ADMIN),
        "DeleteUser":           everywhere(ADMIN),
        "SetPassword":          oneself_or(ADMIN, "name"),
    },
    "WatchService": {
        "Watch":                shown(VIEWER, "names"),
    },
}

_BESIDES: dict[str, Needs] = {
    "/waypost.api.link.v1.EnrolmentService/Enrol":                    open_to_all(),  # its token is in the request
    "/waypost.api.link.v1.EnrolmentService/Renew":                    open_to_all(),  # a proof of the old key is
    "/grpc.health.v1.Health/Check":                                   open_to_all(),
    "/grpc.health.v1.Health/List":                                    open_to_all(),
    "/grpc.health.v1.Health/Watch":                                   open_to_all(),
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": anybody(),
}
# fmt: on

RULES: dict[str, Needs] = {
    f"/waypost.api.control.v1.{service}/{method}": needs
    for service, methods in _API.items()
    for method, needs in methods.items()
} | _BESIDES
"""By the method's path."""


def needs(path: str) -> Needs:
    """Raises: Denied(METHOD_DENIED)."""
    if path not in RULES:
        raise Denied("METHOD_DENIED", f"{path} is not served to anybody here")
    return RULES[path]


def judge(path: str, request: Any, caller: Caller) -> None:
    """Whether a known caller may make this call. request: the message; of a stream of them, nothing is looked at.

    Raises: Denied(METHOD_DENIED | ROLE_MISSING).
    """
    for role, place in needs(path).places(request, caller):
        has = caller.grants.anywhere() if place == ANYWHERE else caller.grants.in_project(place)
        if has < role:
            raise _missing(path, role, place, caller)


def _get(request: Any, field: str) -> Any:
    for part in field.split("."):
        request = getattr(request, part)
    return request


def _missing(path: str, role: Role.ValueType, place: Place, caller: Caller) -> Denied:
    where = {EVERYWHERE: "everywhere", ANYWHERE: "in some project"}.get(place, f"in {place}")
    option = f" --project {names.leaf(place)}" if place not in (EVERYWHERE, ANYWHERE) else ""
    return Denied(
        "ROLE_MISSING",
        f"{caller.name} may not call {path.rpartition('/')[2]}: that needs the role {word(role)} {where}",
        f"an administrator can grant it: `waypost role grant {word(role)} {caller.name}{option}`",
        subject=caller.name,
        role=word(role),
        project=names.leaf(place) if option else "",
    )
