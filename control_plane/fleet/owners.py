"""Which edge servers this control plane speaks for, and under which number.

An agent has one session at a time, with whoever admitted it last. Admitting it takes the claim on the edge server
(`store.base.Claims`), whose number is the session's epoch; everything that a session writes stands under it. So of
several control planes only one can write of an edge server, call its agent lost, or be believed by the agent.
"""

from collections.abc import Mapping

from control_plane.store import Claim, Claims, Fence


class Owners:
    """The claims of one process, as it knows them. run: by which the others know it (`Peer.run`)."""

    def __init__(self, claims: Claims, run: str) -> None:
        self._claims = claims
        self._run = run
        self._epochs: dict[str, int] = {}

    def __contains__(self, edge_server: str) -> bool:
        return edge_server in self._epochs

    def fence(self, edge_server: str) -> Fence:
        """For what is written of it; where somebody else speaks for it, one that lets nothing through."""
        return Fence(edge_server, self._epochs.get(edge_server, 0))

    async def take(self, edge_server: str, *, above: int) -> tuple[int, bool]:
        """From now on we speak for it: the number of the session, and whether nobody else has spoken since we did."""
        while True:
            before = self._epochs.get(edge_server, 0)
            epoch = await self._claims.take(edge_server, self._run, above=above)
            if epoch > self._epochs.get(edge_server, 0):  # else another session of it was faster: it must not end both
                self._epochs[edge_server] = epoch
                return epoch, epoch == before + 1

    async def inherit(self, claims: Mapping[str, Claim | None]) -> list[str]:
        """The same for edge servers that nobody has taken since their claims were read; returns them."""
        taken = await self._claims.take_over(claims, self._run)
        self._epochs.update(taken)
        return sorted(taken)

    async def overtaken(self) -> list[str]:
        """Edge servers that others have claimed; they are forgotten here."""
        known = dict(self._epochs)
        held = await self._claims.held_by(self._run)
        lost = [name for name, epoch in known.items() if held.get(name) != epoch and self._epochs.get(name) == epoch]
        for edge_server in lost:
            del self._epochs[edge_server]
        return lost

    async def drop(self, edge_server: str) -> None:
        """It is no more."""
        self._epochs.pop(edge_server, None)
        await self._claims.drop([edge_server])
