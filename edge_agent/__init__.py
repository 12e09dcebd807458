"""The edge agent: makes what runs on one edge server equal what should run there.

    app, assembly, settings    the process, and how its parts are put together; lock, enrol, stop beside it
    uplink, commands           link 1, to the control plane: desired state down, status up
    ledger, pages              what must survive a kill at any moment; assignments, records: what stands in it
    diff                       PURE: target = overlay(wanted, decision), and the steps from what is to what should be
    supervise, worker          one worker per position takes these steps, over and over; parts is what they share
    artifacts, blobs           model versions by digest, fetched and verified; fetching tries again
    crew, replicas, drivers    monitors and inference hosts as processes; backoff says when to start one again
    health, probe, proving     asks every host for its health, and the gateway for an inference
    router, endpoints          who gets the calls, told to the gateway; gateways carry them
    monitors, orders           link 2, to the position monitors: orders down, decisions up
    picture, conditions, positions, telling      PURE but the last: the status of a position from what is known of it

It executes, dully. What it started outlives it and is adopted again; without the control plane it carries on from its
ledger. It never decides how many replicas or which weights: monitors do, within what people asked for.
"""
