"""Real processes, real faults, counted calls: `make chaos`, a table in docs/chaos.md.

    cells    the matrix: who is struck, how, with the control plane reachable or not, when in a deployment
    world    a platform of real processes whose edge server reaches its control plane through a proxy
    proxy    the network between them: cut, one way only, slow
    strike   what is done to a process, and what brings it back
    run      one cell, from a serving position to the verdict
    report   the page and the raw rows

The load is the SDK's, at 200 calls a second and more through the gateway; the callers count.
"""
