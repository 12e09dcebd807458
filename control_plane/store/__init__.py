"""What the control plane remembers.

`base` says what a store promises, `open_stores` opens one.

    base          what every store promises
    open          brings the schema up to date, and follows what other processes commit
      migrations/  steps from one format to the next
    resources     typed records over a store: the kinds, their names and messages
    records       revisioned records
    observed      what the edge said last (observed_rows: which rows there are)
    history       events, and figures by the minute
    text          PURE: a stranger's text on its way into a store
    audit         who changed what
    claims        what several control planes need to know of one another
    database      one database, opened: transactions, and its errors as ours
      schema      its tables
      statements  what dialects write differently
      postgres    what only PostgreSQL can
      wake        wakes those who wait for a number to rise
"""

from control_plane.store.base import (
    AuditFilter,
    AuditRow,
    AuditStore,
    Changes,
    Claim,
    Claims,
    Delete,
    EventRow,
    EventStore,
    Facts,
    Fence,
    MinuteRow,
    MinuteStore,
    ObservedChanges,
    ObservedRow,
    ObservedStore,
    Page,
    Peer,
    Put,
    Record,
    RevisionConflict,
    Roster,
    Store,
    TooOld,
)
from control_plane.store.open import Stores, open_stores

__all__ = [
    "AuditFilter",
    "AuditRow",
    "AuditStore",
    "Changes",
    "Claim",
    "Claims",
    "Delete",
    "EventRow",
    "EventStore",
    "Facts",
    "Fence",
    "MinuteRow",
    "MinuteStore",
    "ObservedChanges",
    "ObservedRow",
    "ObservedStore",
    "Page",
    "Peer",
    "Put",
    "Record",
    "RevisionConflict",
    "Roster",
    "Store",
    "Stores",
    "TooOld",
    "open_stores",
]
