"""What every component of the mesh is made of.

    link_core, link    the one protocol of all three links, and what carries it
    serve, manners     grpc servers, their errors and logs, a component's life from start to SIGTERM
    identity           who a process is, and whom it trusts
    processes          child processes that outlive their parent and are found again
    nursery            one that has imported a program, and forks: its children start in a moment, and share memory
    restarts           how soon what has ended may be started again
    settings, logs, clock, waiting, files, metrics, tokens

Nothing here knows a component. What only one component uses lives in that component.
"""
