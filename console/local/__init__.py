"""`waypost up`: the whole platform on one machine, for the first five minutes, for tests, and for small sites.

Three components run as child processes, each with a directory of its own under `<data_dir>/processes/`: the training
platform, the control plane, and the edge agent, which runs the gateway and everything at positions. They outlive
whoever started them (mesh.processes), so what `up` does is always the same, whatever it finds: what runs as asked is
adopted, what runs otherwise is replaced, what does not run is started, and each step is waited for by its *state*.

    up            the command: raise, keep, follow, and stop again
    choices       which ports, directories and names; remembered, so that endpoints stay where they are
    components    what is started, with which arguments
    ports         who holds a port that we need
    raising       from nothing to ready: processes, context, edge server, subscription
    supervision   starts again what dies, at once but not for ever; all that a detached `up` leaves behind
    following     what is worth a line meanwhile, in the foreground
    stopping      from anything to nothing
    alone         one `up` per data directory
"""
