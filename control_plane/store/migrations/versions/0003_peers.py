"""Several control planes: who they are, and who of them works at what. Only adds."""

import sqlalchemy as sa
from alembic import op

from control_plane.store.open import tell_needs

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "peers",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("run", sa.String, nullable=False),
        sa.Column("beats", sa.BigInteger, nullable=False),
        sa.Column("address", sa.String, nullable=False),
        sa.Column("link_address", sa.String, nullable=False),
        sa.Column("version", sa.String, nullable=False),
    )
    op.create_table(
        "claims",
        sa.Column("name", sa.String().with_variant(sa.Text(collation="C"), "postgresql"), primary_key=True),
        sa.Column("holder", sa.String, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
    )
    op.create_index("claims_by_holder", "claims", ["holder"])
    tell_needs(op.get_bind())
