"""The tables, for SQLite and PostgreSQL alike.

A new database is made from this metadata at once; an older one is brought here step by step by `migrations/`. A test
holds the two to the same result. Names are compared byte by byte everywhere (`C` collation), so that scans by prefix
are ranges of an index.
"""

from sqlalchemy import BigInteger, Boolean, Column, Index, LargeBinary, MetaData, String, Table, Text

FORMAT = 3
"""Number of the newest migration. A database with a higher one was written by newer software."""

NEEDED_FORMAT = 1
"""What software must know at least to work with a database of this FORMAT. Steps that only add something leave it where
it is, so that two versions may run at once; the step that takes something away, a release later, raises it."""

metadata = MetaData()


def name_type() -> String:
    return String().with_variant(Text(collation="C"), "postgresql")


meta = Table(
    "meta",
    metadata,
    Column("key", String, primary_key=True),
    Column("value", String, nullable=False),
)
"""INCARNATION, TOKEN_KEY, NEEDS, RESTORED_FROM and the facts that control planes must agree on."""

counters = Table(
    "counters",
    metadata,
    Column("name", name_type(), primary_key=True),
    Column("value", BigInteger, nullable=False),
)
"""REVISION, COMPACTED, OBSERVED, EVENT, AUDIT, MINUTE and the numbers of claims. A row locks what it counts."""

records = Table(
    "records",
    metadata,
    Column("name", name_type(), primary_key=True),
    Column("kind", String, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("records_by_kind", "kind", "name"),
    Index("records_by_revision", "revision"),
)

tombstones = Table(
    "tombstones",
    metadata,
    Column("name", name_type(), primary_key=True),
    Column("kind", String, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Index("tombstones_by_revision", "revision"),
)

observed = Table(
    "observed",
    metadata,
    Column("kind", String, primary_key=True),
    Column("name", name_type(), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=True),
    Index("observed_by_sequence", "sequence"),
)
"""Without a body: deleted, kept for a while so that watchers hear of it."""

events = Table(
    "events",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("time_unix_ms", BigInteger, nullable=False),
    Column("resource", name_type(), nullable=False),
    Column("reason", String, nullable=False),
    Column("message", Text, nullable=False),
    Column("source", String, nullable=False),
    Column("key", String, nullable=True, unique=True),
)

audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("time_unix_ms", BigInteger, nullable=False),
    Column("subject", String, nullable=False),
    Column("credential", String, nullable=False),
    Column("peer", String, nullable=False),
    Column("method", String, nullable=False),
    Column("resource", name_type(), nullable=False),
    Column("code", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("request", Text, nullable=False),
    Column("failed", Boolean, nullable=False),
    Index("audit_by_failed", "failed", "id"),
    Index("audit_by_time", "time_unix_ms"),
)

minutes = Table(
    "minutes",
    metadata,
    Column("name", name_type(), primary_key=True),
    Column("minute", BigInteger, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
    Index("minutes_by_minute", "minute"),
)

peers = Table(
    "peers",
    metadata,
    Column("id", String, primary_key=True),
    Column("run", String, nullable=False),
    Column("beats", BigInteger, nullable=False),
    Column("address", String, nullable=False),
    Column("link_address", String, nullable=False),
    Column("version", String, nullable=False),
)
"""The control planes that share this database; gone with the process that it tells of."""

claims = Table(
    "claims",
    metadata,
    Column("name", name_type(), primary_key=True),
    Column("holder", String, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Index("claims_by_holder", "holder"),
)

PASSING = frozenset((peers, claims))
"""What is of no use in a backup: it tells of processes."""

INCARNATION, TOKEN_KEY, NEEDS, RESTORED_FROM = "incarnation", "token_key", "needs_format", "restored_from"
REVISION, COMPACTED, OBSERVED = "revision", "compacted", "observed"
EVENT, AUDIT, MINUTE = "event", "audit", "minute"
