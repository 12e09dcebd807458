"""Who the agent is, and by what its monitors and hosts know one another (docs/identity.md).

    enrol          how it joins
    enrolment      who it is since then
    renewal        keeps its certificate young
    local_links    how monitors reach the agent and hosts their monitor: on Unix sockets, or over mutual TLS
    authority      what certifies monitors and hosts
    keys           what tokens of a position are signed by

Whatever expires, what serves on this machine serves on.
"""
