"""What must hold, whatever fails. Each law has a name and one sentence; docs/simulator.md tells the same to people."""

LAWS = {
    # what is asked of an edge server
    "generations-rise": "within one store, what an agent holds of a position never gets an older generation",
    "numbers-are-used-once": "within one store, no generation of an item and no session of an agent is given out twice",
    "held-as-planned": "what an agent holds durably is a whole desired state that was planned for it",
    "acks-are-durable": "what an agent has acknowledged, and the session that it speaks in, survive a power cut",
    "one-session": "of an agent's sessions the newest counts: it speaks in no older one, and no older one is believed",
    "restored-undoes-nothing": "a store restored from a backup takes nothing back at the edge until that is confirmed",
    # what the edge server does
    "ledger-before-action": "no replica is started that the ledger on disk does not know",
    "stopped-only-when-told": "no position is stopped that the desired state, as the agent holds it, wants",
    "keeps-serving": "a position that has served goes on serving, whatever happens to anything but its own machine",
    "make-before-break": "no route takes calls from hosts that answer to give them to nobody",
    "drained-when-unrouted": "a host is drained only after the gateway has let go of it",
    "no-dangling-route": "no live route names a host of which nothing is left",
    "ids-are-used-once": "no replica id is given out twice on one edge server",
    "ports-are-held-once": "a gateway port belongs to one position, for as long as that asks for one",
    # what was decided
    "decisions-rise": "a decision that the agent has written down is never replaced by an older one",
    "verdicts-are-kept": "a verdict stays until somebody clears it, or its position is gone",
    "rejected-is-not-started": "a rejected version is not started again until somebody clears it",
    # everything
    "no-faults": "no task of any process ends by a fault of ours",
    "time-goes-on": "nobody goes round in circles, and not everybody waits for nothing",
    "bounded": "no queue, ring or map grows with what happens, only with what there is",
    "converges": "in fair weather everything becomes what people asked for last, and statuses say so",
    "quiet": "when all is as it should be, nothing happens",
}


class Broken(Exception):
    """A law was broken. `law` is its name."""

    def __init__(self, law: str, how: str) -> None:
        super().__init__(law, how)
        self.law, self.how = law, how

    def __str__(self) -> str:
        return f"{self.law}: {LAWS[self.law]}\n  {self.how}"
