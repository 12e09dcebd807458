"""The position monitor: the brain of one position, in a process of its own.

    app         settings and the composition root
    preload     what a nursery imports for it
    board       what its parts know of the position, in one place
    uplink      link 2, to the agent: orders down, decisions and metrics up
    hosts       link 3, to the inference hosts: keys down, metrics up
    access      what xApps ask of a position besides inference: tokens, endpoints, closed loops
    tokens      who may have a token
    window      PURE: what was counted, replica by replica, in a stretch of time
    usage       CPU and memory of the position's processes
    demand      PURE: how many replicas the load asks for
    autoscale   PURE: how many there are, and how fast that changes
    rollout     PURE: which versions run, and which gets the calls
    convert     messages of the links to values that are decided by, and back

It decides and does nothing: the agent carries its decisions out, keeps them on disk and hands them back to the next
monitor. So a dead monitor freezes its last decision and hurts nobody.
"""
