"""The first format."""

import sqlalchemy as sa
from alembic import op

from control_plane.store.open import first_rows

revision = "0001"
down_revision = None


def _name() -> sa.String:
    return sa.String().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "meta", sa.Column("key", sa.String, primary_key=True), sa.Column("value", sa.String, nullable=False)
    )
    op.create_table(
        "counters",
        sa.Column("name", _name(), primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    _records()
    _observed()
    _history()
    first_rows(op.get_bind())


def _records() -> None:
    op.create_table(
        "records",
        sa.Column("name", _name(), primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_index("records_by_kind", "records", ["kind", "name"])
    op.create_index("records_by_revision", "records", ["revision"])
    op.create_table(
        "tombstones",
        sa.Column("name", _name(), primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    op.create_index("tombstones_by_revision", "tombstones", ["revision"])


def _observed() -> None:
    op.create_table(
        "observed",
        sa.Column("kind", sa.String, primary_key=True),
        sa.Column("name", _name(), primary_key=True),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=True),
    )
    op.create_index("observed_by_sequence", "observed", ["sequence"])


def _history() -> None:
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("time_unix_ms", sa.BigInteger, nullable=False),
        sa.Column("resource", _name(), nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("key", sa.String, nullable=True, unique=True),
    )
    op.create_table(
        "minutes",
        sa.Column("name", _name(), primary_key=True),
        sa.Column("minute", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_index("minutes_by_minute", "minutes", ["minute"])
