"""Roles: every credential for the API says what it may do. Those made before could do everything, and still can."""

import sqlalchemy as sa
from alembic import op

from waypost.api.control.v1.credential_pb2 import CREDENTIAL_KIND_API, Credential
from waypost.api.control.v1.role_pb2 import ROLE_ADMIN, ROLE_UNSPECIFIED

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    _make_old_tokens_administrators()


def _make_old_tokens_administrators() -> None:
    records = sa.table("records", sa.column("name"), sa.column("kind"), sa.column("body"))
    connection = op.get_bind()
    for name, body in connection.execute(
        sa.select(records.c.name, records.c.body).where(records.c.kind == "credential")
    ).all():
        credential = Credential.FromString(body)
        if credential.kind == CREDENTIAL_KIND_API and credential.role == ROLE_UNSPECIFIED:
            credential.role = ROLE_ADMIN
            written = credential.SerializeToString(deterministic=True)
            connection.execute(sa.update(records).where(records.c.name == name).values(body=written))
