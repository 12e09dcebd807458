"""`waypost user`: people who log in with a password."""

from typing import Annotated

import typer

from console import messages
from console.cli.login import read_password
from console.cli.session import Session, command, group
from console.cli.verbs import DisplayNameOption
from console.client import PAGE_SIZE
from mesh import clock
from waypost import names
from waypost.api.control.v1.session_pb2 import WhoAmIRequest
from waypost.api.control.v1.user_pb2 import (
    CreateUserRequest,
    DeleteUserRequest,
    ListUsersRequest,
    SetPasswordRequest,
    User,
)

app = group("Users: people who log in with a password.")

UserId = Annotated[str, typer.Argument(metavar="USER", help="For example anna: lower case, digits, hyphens.")]


@command(app, "create")
def create(session: Session, user: UserId, display_name: DisplayNameOption = None) -> None:
    """Create a user. The password is asked for, or read as one line from stdin; it has 12 characters or more.

    A user may do nothing until a role is granted: `waypost role grant operator users/anna --project uav`.
    """
    names.check_id(user, "users")
    password = read_password(f"password for {user}: ", twice=True)
    request = CreateUserRequest(user_id=user, user=User(display_name=display_name or ""), password=password)
    made = session.client.call(session.client.users.CreateUser, request).user
    if session.json:
        session.show(made)
    else:
        session.say(f"user {user} created; `waypost role grant ROLE {made.name}` says what they may do")


@command(app, "list")
def list_(session: Session) -> None:
    """List users."""
    found = list(session.client.pages(session.client.users.ListUsers, ListUsersRequest(page_size=PAGE_SIZE), "users"))
    if session.json:
        session.show_json(found)
        return
    now = clock.now()
    rows = [(names.leaf(user.name), messages.age(user.create_time, now), user.display_name) for user in found]
    session.table(("USER", "CREATED", "NAME"), rows, nothing="no users")


@command(app, "delete")
def delete(session: Session, user: UserId) -> None:
    """Delete a user; sessions end, and what was granted goes too."""
    session.client.call(session.client.users.DeleteUser, DeleteUserRequest(name=names.parse(user, "users")))
    session.say(f"user {user} deleted")


@command(app, "set-password")
def set_password(session: Session, user: UserId) -> None:
    """Set a password, which ends the user's sessions.

    Your own: the present one is asked for first; from stdin, it is the first of two lines. An administrator needs none
    for somebody else's.
    """
    name = names.parse(user, "users")
    own = session.client.call(session.client.sessions.WhoAmI, WhoAmIRequest()).subject == name
    current = read_password("present password: ") if own else ""
    request = SetPasswordRequest(
        name=name, current_password=current, password=read_password(f"new password for {user}: ", twice=True)
    )
    session.client.call(session.client.users.SetPassword, request)
    session.say(f"password of {user} set" + ("; log in again" if own else ""))
