"""The agents, seen from the control plane: one session per edge server.

    store: desired/<edge server> --poke--> session --Desired--> agent
    agent --Status--> session --> observed rows (position reports, the edge server's status)
    agent --Metrics--> figures --> whoever watches, and a row per position and minute
    agent --Events--> the event table, once each

The agent dials and may vanish at any moment; nothing is queued for it. What it should run is a record in the store, of
which a session sends the newest; what it says goes into rows of which the newest counts. A session therefore holds
nothing that the next one, or the next process, would miss.

    fleet        all sessions, and what the services ask of them
    port         what services and others ask of it            fake    one without agents, for tests
    session      one agent's stream
    telling      what an agent may tell of: its own, bounded
    service      the port where agents call, and who calls there (caller)
    rows         writes observed rows, at a measured pace
    figures      adds up metrics, for those who watch and by the minute
    status       PURE: what an edge server's status says
    duplicates   PURE: two agents with one identity
    owners       which edge servers are ours to speak of, where there are several control planes
"""
