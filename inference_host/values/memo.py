"""What was worked out once and is asked for again with nearly every call. Pure."""

from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Memo(dict[Key, Value]):
    """A dict that forgets everything when it is full: what is in use comes back with the next calls.

    That bounds what callers can make it hold, and none of them can keep the others out. Its lookup is a dict's.
    """

    def __init__(self, entries_max: int) -> None:
        super().__init__()
        self._entries_max = entries_max

    def remember(self, key: Key, value: Value) -> Value:
        """Returns `value`."""
        if len(self) >= self._entries_max:
            self.clear()
        self[key] = value
        return value
