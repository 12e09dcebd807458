"""The edge agent: makes what runs on one edge server equal what should run there.

    app, assembly, settings    the process, and how its parts are put together
    box/           what people do on the machine itself, with or without a control plane
    links/         to the control planes and to the position monitors: what they want comes in, what is goes out
    reconcile/     one worker per position takes the steps from what is to what should be
    artifacts/     model versions by digest, fetched and verified
    identity/      who the agent is, and by what its monitors and hosts know one another
    state/         what must survive a kill at any moment
    position/      PURE: what should be at a position, the steps to it, and what is said of it
    drivers/       what runs monitors and hosts
    gateways/      what carries the calls
    machine/       the machine: its directories, disk, clock and versions of the software
    failure, backoff, model_version    words of all of these

Imports run down this list (.importlinter).

It executes, dully. What it started outlives it and is adopted again; without the control plane it carries on from its
ledger. It never decides how many replicas or which weights: monitors do, within what people asked for.
"""
