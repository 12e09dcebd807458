"""Several control planes over one PostgreSQL: all alike, none of them the leader.

What is in the store needs no agreement: plans are compare-and-swap, watches follow the store. This package is about
what one process has in its hands: the sessions of agents, the streams of training platforms, files on a disk.

    liveness     PURE: who is silent for too long, by the observer's own clock
    membership   a row per control plane, with a sign of life every two seconds; who lives
    holdings     claims on work that one of us does: taken when nobody living holds them
    joining      what is found out before one joins others on a store
    peering      the beat: looks at all of this, and tells the fleet whom it lost or inherited
    calls        what is asked of a peer, over mutual TLS
    service      what a peer may ask of us
    fleet        commands and live figures, wherever the agent is connected
    artifacts    every file, wherever it was stored first; and copies of all that versions need

Two things keep this right whatever fails. A **claim** has a number that rises with each change of hands, and what is
written under a number that is no longer the claim's is left out (`store.base.Fence`): so a process that slept through
its own funeral does no harm. And **liveness is only a hint**: judged wrongly, it moves work and agents, and loses
nothing.

On SQLite there are no peers, and all of this is as good as absent.
"""
