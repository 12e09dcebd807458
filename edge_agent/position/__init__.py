"""PURE. One position: what should be, what is, the steps between, and what is said of it.

    assignments    what comes down the links, as values
    mode           what people on the machine asked for
    changes        what may be carried out now
    diff           target = overlay(wanted, decision), and the steps from what is to what should be
    record         what was given out to it, as the ledger keeps it
    replicas       what is seen of its hosts, and which of them are to run
    endpoints      who answers, for the gateway and for its monitor
    orders         what its monitor is told
    samples        by which inference it is asked
    picture        what is known of it
    conditions     what is judged of that
    status         what follows for those who look at it

Nothing here has a clock, a file or a socket.
"""
