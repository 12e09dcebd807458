"""What roles somebody has, and what they may see by that. Pure.

Roles are ordered: each may do all that the one before it may (`Role` in role.proto). A grant holds in one project or
everywhere; somebody with several has the highest of those that hold where the call goes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from waypost.api.control.v1.role_pb2 import ROLE_UNSPECIFIED, ROLE_VIEWER, Role

EVERYWHERE = ""
"""In the place of a project: a grant that holds in all of them, and for what belongs to none."""


@dataclass(frozen=True, slots=True)
class Grants:
    """Roles by project (`projects/{project}`, or EVERYWHERE)."""

    roles: Mapping[str, Role.ValueType] = field(default_factory=dict)

    @staticmethod
    def of(granted: Iterable[tuple[str, Role.ValueType]]) -> "Grants":
        """From (project, role); the highest of each project counts."""
        roles: dict[str, Role.ValueType] = {}
        for project, role in granted:
            roles[project] = max(role, roles.get(project, ROLE_UNSPECIFIED))
        return Grants(roles)

    def in_project(self, project: str) -> Role.ValueType:
        """The role in one project, or EVERYWHERE."""
        everywhere = self.roles.get(EVERYWHERE, ROLE_UNSPECIFIED)
        return max(everywhere, self.roles.get(project, ROLE_UNSPECIFIED))

    def anywhere(self) -> Role.ValueType:
        """The highest role of all."""
        return max(self.roles.values(), default=ROLE_UNSPECIFIED)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a call comes from."""

    name: str = ""
    """Whom role bindings name: `users/anna`, `credentials/ci`; empty for nobody."""
    credential: str = ""
    """Full name of the credential or session that proved it."""
    grants: Grants = Grants()
    expires_s: float = 0.0
    """Unix seconds when the credential ends; 0: never."""

    def sees(self, name: str) -> bool:
        """Whether a list or a watch may show a resource: what is in a project by the role there, edge servers (which
        deployments name) by any role at all, what is one's own always, everything else by a role that holds everywhere.
        """
        if self.name and f"{name}/".startswith(f"{self.name}/"):
            return True
        if name.startswith("edgeServers/"):
            return self.grants.anywhere() >= ROLE_VIEWER
        return self.grants.in_project(project_of(name)) >= ROLE_VIEWER


NOBODY = Caller()


def project_of(name: str) -> str:
    """`projects/{project}` that a resource is in, or is; EVERYWHERE for what belongs to no single project."""
    segments = name.split("/", 2)
    if len(segments) < 2 or segments[0] != "projects" or segments[1] in ("", "-"):
        return EVERYWHERE
    return f"projects/{segments[1]}"
