"""Roles: every credential for the API says what it may do. Those made before could do everything, and still can.
And the audit log.
"""

import sqlalchemy as sa
from alembic import op

from waypost.api.control.v1.credential_pb2 import CREDENTIAL_KIND_API, Credential
from waypost.api.control.v1.role_pb2 import ROLE_ADMIN, ROLE_UNSPECIFIED

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    _make_old_tokens_administrators()
    _audit()


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("time_unix_ms", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.String, nullable=False) for name in ("subject", "credential", "peer", "method")),
        sa.Column("resource", sa.String().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("code", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("failed", sa.Boolean, nullable=False),
    )
    op.create_index("audit_by_failed", "audit", ["failed", "id"])
    op.create_index("audit_by_time", "audit", ["time_unix_ms"])


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
