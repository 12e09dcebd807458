"""How often one may try a password: per user, so that nobody is guessed, and per peer, so that nobody guesses many.

Each key has a bucket that leaks: an attempt adds one, and is refused where it would not fit. An attempt counts when it
begins, or many at once would all be free; one that succeeds is taken back. Users that do not exist are counted like
those that do. Memory is bounded: beyond KEYS_MAX the bucket that was touched longest ago is forgotten, which a guesser
can bring about only with more names than its own address is allowed to try in that time. Pure.
"""

from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network

from waypost.errors import RETRY_AFTER, Exhausted

KEYS_MAX = 10_000  # of each kind: two megabytes

USER_ATTEMPTS, USER_LEAK_S = 10, 30.0  # a forgetful person is never stopped; a guesser has 2880 a day
PEER_ATTEMPTS, PEER_LEAK_S = 50, 3.0  # several people behind one address


@dataclass(slots=True)
class _Bucket:
    level: float
    read_s: float


class Buckets:
    """One per key, each with room for `size`; one leaks out every `leak_s`."""

    def __init__(self, size: int, leak_s: float) -> None:
        self._size = size
        self._leak_s = leak_s
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def wait_s(self, key: str, now_s: float) -> float:
        """Seconds until there is room for one more; 0 where there is."""
        return max(0.0, (self._level(key, now_s) + 1 - self._size) * self._leak_s)

    def add(self, key: str, count: int, now_s: float) -> None:
        """count: 1, or -1 to take one back."""
        level = max(0.0, self._level(key, now_s) + count)
        self._buckets[key] = _Bucket(level, now_s)
        self._buckets.move_to_end(key)
        if len(self._buckets) > KEYS_MAX:
            self._buckets.popitem(last=False)

    def __len__(self) -> int:
        return len(self._buckets)

    def _level(self, key: str, now_s: float) -> float:
        bucket = self._buckets.get(key)
        return max(0.0, bucket.level - max(0.0, now_s - bucket.read_s) / self._leak_s) if bucket else 0.0


class Attempts:
    """All that is known of who tried."""

    def __init__(self) -> None:
        self._users = Buckets(USER_ATTEMPTS, USER_LEAK_S)
        self._peers = Buckets(PEER_ATTEMPTS, PEER_LEAK_S)

    def begin(self, user: str, peer: str, now_s: float) -> None:
        """Counts one attempt. Raises: Exhausted(TOO_MANY_LOGINS), which does not count."""
        wait_s = max(self._users.wait_s(user, now_s), self._peers.wait_s(peer, now_s))
        if wait_s > 0:
            raise Exhausted(
                "TOO_MANY_LOGINS",
                "too many passwords were tried for this user, or from this address",
                f"try again in {wait_s:.0f} s",
                **{RETRY_AFTER: str(int(wait_s * 1000) + 1)},
            )
        self._users.add(user, 1, now_s)
        self._peers.add(peer, 1, now_s)

    def succeeded(self, user: str, peer: str, now_s: float) -> None:
        """The attempt that began was right: it counts no more."""
        self._users.add(user, -1, now_s)
        self._peers.add(peer, -1, now_s)


def peer_of(peer: str) -> str:
    """The machine behind gRPC's `ipv4:10.0.0.7:4711`, `ipv6:%5B::1%5D:4711` or `unix:`. Of IPv6 the /64, which one
    household or machine has to itself; what is no address stays as it is.
    """
    family, _, rest = peer.partition(":")
    host = rest.replace("%5B", "[").replace("%5D", "]").rpartition(":")[0].strip("[]").partition("%")[0]
    if family not in ("ipv4", "ipv6"):
        return peer[:64]
    try:
        address = ip_address(host)
    except ValueError:
        return peer[:64]
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return str(ip_network((address, 64), strict=False))
    return str(getattr(address, "ipv4_mapped", None) or address)
