"""`Claims`, `Roster` and `Facts` over SQLAlchemy Core: what several control planes need to know of one another.

The numbers of claims come from counters, `epoch/<name>` as versions before claims called those of agents' sessions: so
they rise on where such a version runs beside this one.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import and_, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from control_plane.gathering import Gathered
from control_plane.store.base import Claim, Peer
from control_plane.store.database import Database, uninterrupted
from control_plane.store.schema import claims, counters, meta, peers
from control_plane.store.statements import batches, insert_for, upsert

TAKEN_AT_ONCE = 500  # by callers that come together: a fleet that reconnects


@dataclass(frozen=True, slots=True)
class _Wish:
    """A claim that somebody takes."""

    name: str
    holder: str
    above: int


class SqlClaims:
    """See `base.Claims`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._take = Gathered(self._take_each, TAKEN_AT_ONCE)

    async def take(self, name: str, holder: str, *, above: int = 0) -> int:
        return await self._take(_Wish(name, holder, above))

    @uninterrupted
    async def _take_each(self, wishes: Sequence[_Wish]) -> Sequence[int]:
        """One after the other, in one transaction."""
        async with self._database.write() as connection:
            first = await _next_epochs(connection, sorted({wish.name for wish in wishes}))
            taken: dict[str, Claim] = {}
            epochs: list[int] = []
            for wish in wishes:
                last = taken[wish.name].epoch if wish.name in taken else first[wish.name] - 1
                epochs.append(max(last, wish.above) + 1)
                taken[wish.name] = Claim(wish.name, wish.holder, epochs[-1])
            await _raise_counters(connection, [claim for claim in taken.values() if claim.epoch > first[claim.name]])
            await _hold(connection, list(taken.values()))
        return epochs

    @uninterrupted
    async def take_over(self, seen: Mapping[str, Claim | None], holder: str) -> dict[str, int]:
        taken: dict[str, int] = {}
        async with self._database.write() as connection:
            for batch in batches(
                sorted(seen)
            ):  # always in this order: two that take over at once must not lock each other
                epochs = await _next_epochs(connection, batch)  # first, because it locks
                found = await _read(connection, batch)
                taken.update((name, epochs[name]) for name in batch if found.get(name) == seen[name])
            await _hold(connection, [Claim(name, holder, epoch) for name, epoch in taken.items()])
        return taken

    @uninterrupted
    async def read(self, names: Collection[str]) -> dict[str, Claim]:
        async with self._database.read() as connection:
            return await _read(connection, names)

    @uninterrupted
    async def held_by(self, holder: str) -> dict[str, int]:
        wanted = select(claims.c.name, claims.c.epoch).where(claims.c.holder == holder)
        async with self._database.read() as connection:
            return {row.name: row.epoch for row in await connection.execute(wanted)}

    @uninterrupted
    async def drop(self, names: Collection[str]) -> None:
        async with self._database.write() as connection:
            for batch in batches(names):
                await connection.execute(delete(claims).where(claims.c.name.in_(batch)))


async def _next_epochs(connection: AsyncConnection, names: Sequence[str]) -> dict[str, int]:
    """names: rising, so that two who lock several at once do not lock each other. Locked until the transaction ends."""
    keys = {_counter(name): name for name in names}
    statement = upsert(connection, counters, ["name"], add="value")
    await connection.execute(statement, [{"name": key, "value": 1} for key in keys])
    rows = await connection.execute(select(counters).where(counters.c.name.in_(keys)))
    return {keys[row.name]: row.value for row in rows}


async def _raise_counters(connection: AsyncConnection, claims: Sequence[Claim]) -> None:
    """To numbers beyond the next ones."""
    if claims:
        rows = [{"name": _counter(claim.name), "value": claim.epoch} for claim in claims]
        await connection.execute(upsert(connection, counters, ["name"]), rows)


def _counter(name: str) -> str:
    return f"user/epoch/{name}"


async def _hold(connection: AsyncConnection, held: Sequence[Claim]) -> None:
    rows = [{"name": claim.name, "holder": claim.holder, "epoch": claim.epoch} for claim in held]
    if rows:
        await connection.execute(upsert(connection, claims, ["name"]), rows)


async def _read(connection: AsyncConnection, names: Collection[str]) -> dict[str, Claim]:
    found: dict[str, Claim] = {}
    for batch in batches(names):
        rows = await connection.execute(select(claims).where(claims.c.name.in_(batch)))
        found.update((row.name, Claim(row.name, row.holder, row.epoch)) for row in rows)
    return found


async def epochs(connection: AsyncConnection, names: Collection[str]) -> dict[str, int]:
    """The numbers of claims, inside a transaction that writes under them."""
    return {claim.name: claim.epoch for claim in (await _read(connection, names)).values()}


class SqlRoster:
    """See `base.Roster`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def join(self, peer: Peer) -> None:
        async with self._database.write() as connection:
            await connection.execute(delete(peers).where(peers.c.id == peer.id))
            await connection.execute(insert(peers), _row(peer))

    @uninterrupted
    async def beat(self, peer: Peer) -> bool:
        own = and_(peers.c.id == peer.id, peers.c.run == peer.run)
        async with self._database.write() as connection:
            written = await connection.execute(update(peers).where(own).values(beats=peers.c.beats + 1))
        return bool(written.rowcount)

    @uninterrupted
    async def all(self) -> Sequence[Peer]:
        async with self._database.read() as connection:
            rows = (await connection.execute(select(peers).order_by(peers.c.id))).mappings().all()
        return [Peer(**row) for row in rows]

    @uninterrupted
    async def remove(self, peer: Peer) -> bool:
        silent = and_(peers.c.id == peer.id, peers.c.run == peer.run, peers.c.beats <= peer.beats)
        async with self._database.write() as connection:
            removed = await connection.execute(delete(peers).where(silent))
        return bool(removed.rowcount)


def _row(peer: Peer) -> dict[str, object]:
    return {column.name: getattr(peer, column.name) for column in peers.columns}


class SqlFacts:
    """See `base.Facts`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def keep(self, key: str, value: str) -> str:
        async with self._database.write() as connection:
            statement = insert_for(connection, meta).on_conflict_do_nothing()
            await connection.execute(statement, {"key": key, "value": value})
            return str(await connection.scalar(select(meta.c.value).where(meta.c.key == key)))

    @uninterrupted
    async def change(self, key: str, value: str) -> None:
        async with self._database.write() as connection:
            statement = insert_for(connection, meta).on_conflict_do_update(
                index_elements=["key"], set_={"value": value}
            )
            await connection.execute(statement, {"key": key, "value": value})

    @uninterrupted
    async def read(self, key: str) -> str:
        async with self._database.read() as connection:
            return str(await connection.scalar(select(meta.c.value).where(meta.c.key == key)) or "")
