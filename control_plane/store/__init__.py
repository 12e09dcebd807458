"""What the control plane remembers: `base` says what a store promises, `open_stores` opens one."""

from control_plane.store.base import (
    Changes,
    Counters,
    Delete,
    EventRow,
    EventStore,
    MinuteRow,
    MinuteStore,
    ObservedChanges,
    ObservedRow,
    ObservedStore,
    Page,
    Put,
    Record,
    RevisionConflict,
    Store,
    TooOld,
)
from control_plane.store.open import Stores, open_stores

__all__ = [
    "Changes",
    "Counters",
    "Delete",
    "EventRow",
    "EventStore",
    "MinuteRow",
    "MinuteStore",
    "ObservedChanges",
    "ObservedRow",
    "ObservedStore",
    "Page",
    "Put",
    "Record",
    "RevisionConflict",
    "Store",
    "Stores",
    "TooOld",
    "open_stores",
]
