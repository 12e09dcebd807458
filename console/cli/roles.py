"""`waypost role`: who may do what."""

from typing import Annotated

import typer

from console import messages, roles
from console.cli.session import Session, command, group
from console.cli.verbs import DescriptionOption, ProjectOption
from console.client import PAGE_SIZE
from console.kinds import PROJECT
from mesh import clock
from waypost import names
from waypost.api.control.v1.role_binding_pb2 import (
    CreateRoleBindingRequest,
    DeleteRoleBindingRequest,
    ListRoleBindingsRequest,
    RoleBinding,
)
from waypost.errors import NotFound

app = group("Roles: what somebody may do, in a project or everywhere.")

Role = Annotated[str, typer.Argument(metavar="ROLE", help="viewer, developer, operator or admin.")]
Subject = Annotated[str, typer.Argument(metavar="SUBJECT", help="To whom: credentials/ci.")]


@command(app, "grant")
def grant(
    session: Session, role: Role, subject: Subject, project: ProjectOption = None, description: DescriptionOption = None
) -> None:
    """Grant a role, in one project or everywhere.

    A viewer sees; a developer also makes models and tokens of xApps; an operator also deploys; an admin also says who
    may do what. docs/reference/access.md has the whole table.
    """
    binding = RoleBinding(subject=subject, role=roles.parse(role), description=description or "")
    request = CreateRoleBindingRequest(parent=_parent(project), role_binding=binding)
    made = session.client.call(session.client.role_bindings.CreateRoleBinding, request).role_binding
    if session.json:
        session.show(made)
    else:
        session.say(f"{subject} is {roles.word(made.role)} {_where(project)}")


@command(app, "list")
def list_(
    session: Session,
    project: Annotated[str | None, typer.Argument(metavar="PROJECT", help="Only those of this project.")] = None,
) -> None:
    """List what was granted: everywhere and in each project, or in one."""
    found = _bindings(session, PROJECT.parse(project)) if project else _bindings(session, "", "projects/-")
    if session.json:
        session.show_json(found)
        return
    now = clock.now()
    rows = [(b.subject, roles.word(b.role), _place(b), messages.age(b.create_time, now), b.description) for b in found]
    session.table(("SUBJECT", "ROLE", "WHERE", "SINCE", "DESCRIPTION"), rows, nothing="nothing was granted")


@command(app, "revoke")
def revoke(session: Session, role: Role, subject: Subject, project: ProjectOption = None) -> None:
    """Take a role back that was granted, in one project or everywhere."""
    wanted = roles.parse(role)
    found = [b for b in _bindings(session, _parent(project)) if (b.subject, b.role) == (subject, wanted)]
    if not found:
        message = f"{subject} was not granted {role} {_where(project)}"
        raise NotFound("NOT_GRANTED", message, "`waypost role list` shows what was; a token's own role goes with it")
    for binding in found:
        request = DeleteRoleBindingRequest(name=binding.name)
        session.client.call(session.client.role_bindings.DeleteRoleBinding, request)
    session.say(f"{subject} is no longer {role} {_where(project)} by a grant")


def _bindings(session: Session, *parents: str) -> list[RoleBinding]:
    listed = session.client.role_bindings.ListRoleBindings
    return [
        binding
        for parent in parents
        for binding in session.client.pages(
            listed, ListRoleBindingsRequest(parent=parent, page_size=PAGE_SIZE), "role_bindings"
        )
    ]


def _parent(project: str | None) -> str:
    return PROJECT.parse(project) if project else ""


def _where(project: str | None) -> str:
    return f"in {project}" if project else "everywhere"


def _place(binding: RoleBinding) -> str:
    return names.short(names.parent(binding.name)) or "everywhere"
