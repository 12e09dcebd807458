"""From a call to its answer, on plain values; errors are MeshErrors.

    dataplane    what the faces ask
    repository   which model versions there are: brought up, loaded anew, unloaded      served   one of them
    lifecycle    PURE: LOADING, WARMING, READY, DRAINING, UNLOADED, FAILED
    loader       from a package to a model that has answered (READY is proven)
      calibration   how long it takes, and whether calls may go through it together
    plan         what follows from the form of a call, found out once
    lane         from a call to its answer: deadlines, runs of several calls (runs)
    backlog      PURE: what waits, by urgency
    batching     PURE: what waits, what runs next, what is refused      estimates   PURE: how long runs take
    sequences    PURE: which step of which sequence may run, and what it meets      sequence_lane   a lane of them
    execution    where models run: on the event loop, on a few threads (threads, turns), in tasks
      watchdog   a model blocks the event loop
    meter        what is counted
    alone        what several processes cannot have

Nothing here knows a transport.
"""
