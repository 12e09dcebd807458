"""Replacing a token with another one, for `waypost token rotate` and `waypost application token rotate`."""

from typing import Annotated

import typer

from console import messages
from console.cli.session import Session
from mesh import clock
from mesh.times import duration
from waypost import names
from waypost.api.control.v1.credential_pb2 import RotateCredentialRequest

NewIdOption = Annotated[
    str, typer.Option("--new-id", metavar="TOKEN_ID", help="Of the new one. Empty: xapp-1 is followed by xapp-1-r2.")
]
OverlapOption = Annotated[
    float, typer.Option("--overlap-hours", metavar="HOURS", min=0, help="How long the old one stays good beside it.")
]


def rotate(session: Session, name: str, new_id: str, overlap_hours: float) -> None:
    """Prints the new secret. name: full, of the credential to replace."""
    request = RotateCredentialRequest(name=name, credential_id=new_id, overlap=duration(overlap_hours * 3600))
    made = session.client.call(session.client.credentials.RotateCredential, request)
    if session.json:
        session.show(made)
        return
    print(made.secret)
    new, old = names.leaf(made.credential.name), names.leaf(name)
    until = messages.until(made.replaced.expire_time, clock.now())
    session.note(f"\ntoken {new} made: keep the line above, it is not shown again; {old} ends {until}")
