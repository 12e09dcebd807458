"""A fleet that is not there: thousands of agents in one process, each a real one to the control plane.

    enrolment     a key, a request and a certificate for each, with one join token that makes edge servers
    agent         link 1 as a real agent dials it (mesh.link, mutual TLS, its own connection), and who answers there
    positions     PURE: what a simulated edge server makes of its assignments: how long a deployment takes, what fails
    fleet         all agents together, and waiting until each of them has got somewhere
    stages        what is done with them, one after the other, and how long it took
    figures       PURE: what is printed of that
    platform      what is asked of the platform's API meanwhile, and taken back in the end
    machine       what the control plane's process costs, and how many connections this one may have

Nothing here knows how a control plane works inside: it hears what agents say, over the ports that agents use, and is
told what people would tell it, over the API. So a rollout can be tried on a fleet of the size that one has before it
meets the field, and the figures of docs/fleet.md are those of any control plane.

What is simulated is the machine behind the agent: there are no hosts, and what a position answers is made up. "Durably"
means in this process's memory; a simulated agent never restarts, only its connections do.
"""
