"""`waypost login`, `logout` and `whoami`: sessions of people, kept in the context beside its token."""

import getpass
import sys
from dataclasses import replace
from typing import Annotated

import typer

from console import contexts, messages, roles
from console.cli.session import Session, command, group
from console.client import Client
from mesh import clock
from waypost import names
from waypost.api.control.v1.session_pb2 import LoginRequest, LogoutRequest, WhoAmIRequest, WhoAmIResponse
from waypost.errors import Invalid, Precondition, Unauthenticated

app = group("")


@command(app, "login")
def login(
    session: Session,
    user: Annotated[str, typer.Argument(metavar="USER", help="Your name there: anna.")],
) -> None:
    """Log in to the current platform with a password.

    The password is asked for, or read as one line from stdin where that is no terminal. The context keeps the session,
    and uses it in the place of its token until you log out or it expires.
    """
    path = contexts.locate(session.context)
    context = contexts.read(path)
    request = LoginRequest(user=names.parse(user, "users"), password=read_password(f"password of {user}: "))
    with Client(replace(context, token="", session="")) as client:
        made = client.call(client.sessions.Login, request)
    contexts.write(path, replace(context, session=made.token))
    if session.json:
        session.show(made.session)
        return
    until = messages.until(made.session.expire_time, clock.now())
    session.say(f"logged in to {context.address} as {names.leaf(request.user)}; the session ends {until}")


@command(app, "logout")
def logout(session: Session) -> None:
    """End the session of the current platform; a token that its context has is used again."""
    path = contexts.locate(session.context)
    context = contexts.read(path)
    if not context.session:
        raise Precondition("NOT_LOGGED_IN", f"context {context.name!r} has no session", "`waypost login USER`")
    try:
        session.client.call(session.client.sessions.Logout, LogoutRequest())
    except Unauthenticated as error:  # it has ended already, which is what was wanted
        session.note(error.message)
    contexts.write(path, replace(context, session=""))
    session.say(f"logged out of {context.address}")


@command(app, "whoami")
def whoami(session: Session) -> None:
    """Show who you are, and what you may do."""
    told = session.client.call(session.client.sessions.WhoAmI, WhoAmIRequest())
    if session.json:
        session.show(told)
        return
    print(f"{told.subject} at {session.client.context.address}")
    print(f"by {told.credential or 'a token of another issuer'}, good until {_until(told)}")
    rows = [(roles.word(held.role), names.leaf(held.project) or "everywhere") for held in told.roles]
    session.table(("ROLE", "WHERE"), rows, nothing="no role was granted: an administrator can, `waypost role grant`")


def read_password(prompt: str, *, twice: bool = False) -> str:
    """From the terminal without an echo, else a line of stdin. Raises: Invalid(NO_PASSWORD | PASSWORDS_DIFFER)."""
    if not sys.stdin.isatty():
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = getpass.getpass(prompt)
        if twice and getpass.getpass("once more: ") != password:
            raise Invalid("PASSWORDS_DIFFER", "the two are not the same", "try again")
    if not password:
        raise Invalid("NO_PASSWORD", "no password was given", "type one, or send it as one line to stdin")
    return password


def _until(told: WhoAmIResponse) -> str:
    return told.expire_time.ToJsonString() if told.HasField("expire_time") else "it is revoked"
