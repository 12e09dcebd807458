"""What every component of the mesh is made of.

    link_core          PURE: the one protocol of all three links
      link             what carries it, over a wire
      link_grpc, link_wire    wires: by grpcio, and for hosts without it
    serve, manners     grpc servers, their errors and logs, a component's life from start to SIGTERM
    identity           who a process is, and whom it trusts
      certificates     keys, requests and certificates
      spiffe           who is called what in them
    tokens             access tokens of a position
    processes          child processes that outlive their parent and are found again
      pids, signals    which process a number means; what signals are called
    nursery            one that has imported a program, and forks: its children start in a moment, and share memory
    restarts           PURE: how soon what has ended may be started again
    settings, fields   settings of a component; what a class of them declares
    logs, plain_logs   events with fields; structlog without what it takes along
    metrics, measures  PURE: durations as histograms; what templates count and measure themselves
    windows            PURE: maintenance windows
    clock, times       the world's time and luck; times as protos have them, and such as are none
    waiting            for news, but not for ever
    files, locks       that survive a kill at any moment; one process at a time in a directory
      flock            a lock, taken by one and looked at by anybody
    packages           PURE: a model version as files
    position           numbers that all who deal with positions agree on
    text               PURE: how things look in a terminal
    plain_text         PURE: a stranger's text, as it can be kept and shown
    version            the platform's

Nothing here knows a component. What only one component uses lives in that component.
"""
