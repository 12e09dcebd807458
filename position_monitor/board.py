"""What the monitor's parts know of their position, in one place.

The uplink posts orders and takes windows; hosts and access read orders and count into the window. Whoever must follow
changes waits for `changed` and then looks: a reader that is slow sees the newest state, not every one.
"""

import asyncio

from position_monitor.window import EMPTY, Window
from waypost import names
from waypost.api.link.v1.monitor_link_pb2 import PositionOrders
from waypost.errors import Unavailable


class Board:
    """Lives as long as the process. Not thread-safe."""

    def __init__(self, position: str, uid: str, jwks: str) -> None:
        self.position = position
        self.uid = uid
        self.jwks = jwks
        """Key set that callers' tokens are checked with, JSON."""
        self.orders: PositionOrders | None = None
        """The last good ones; None until the agent has been heard."""
        self.changed = asyncio.Event()
        """Set, and replaced by a new one, when orders come. Take it before reading, then wait for it."""
        self._window = EMPTY
        self._load = EMPTY

    def post(self, orders: PositionOrders) -> None:
        """New orders."""
        self.orders = orders
        self.changed.set()
        self.changed = asyncio.Event()

    def known(self) -> PositionOrders:
        """Raises: Unavailable(NO_ORDERS) before the agent has been heard."""
        if self.orders is None:
            raise Unavailable(
                "NO_ORDERS",
                f"the monitor of {self.position} has just started and not heard from its agent",
                "try again in a second; if it stays so, look whether the agent runs",
                position=self.position,
            )
        return self.orders

    @property
    def serve_as(self) -> str:
        """Model name that never changes at this position."""
        orders = self.known()
        return orders.spec.serve_as or names.leaf(self.position)

    def answers_to(self, name: str) -> bool:
        """Whether `name` (uid, full or short name; empty: whatever the call was routed to) is this position."""
        return name in ("", self.uid, self.position, names.short(self.position))

    @property
    def counted(self) -> bool:
        """Whether any host has sent counts since the last take."""
        return bool(self._window.replicas)

    def count(self, window: Window) -> None:
        """Adds what was counted since."""
        self._window += window
        self._load += window

    def take(self) -> Window:
        """What was counted since the last take."""
        window, self._window = self._window, EMPTY
        return window

    def take_load(self) -> Window:
        """The same, for whoever decides how many replicas there are."""
        load, self._load = self._load, EMPTY
        return load
