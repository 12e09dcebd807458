"""The edge agent: makes what runs on one edge server equal what should run there.

    uplink       link 1, to the control plane: desired state down, status up
    ledger       what must survive a kill at any moment
    diff         PURE: target = overlay(desired, decision), and the steps from what is to what should be
    supervise    one worker per position takes these steps, over and over
    artifacts    model versions by digest, fetched and verified
    drivers      run monitors and inference hosts
    gateways     carry the calls of xApps to the hosts
    probe        asks every host for its health, and the gateway for an inference
    monitors     link 2, to the position monitors: orders down, decisions up
    positions    PURE: the status of a position from what is known of it

It executes, dully. What it started outlives it and is adopted again; without the control plane it carries on from its
ledger. It never decides how many replicas or which weights: monitors do, within what people asked for.
"""
