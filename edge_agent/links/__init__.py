"""The agent's two links (docs/link.md): it is a child of the control planes, and the parent of its monitors.

    uplink       link 1: desired state down, status up
    upstreams    which control plane is dialled
    commands     what is asked for on behalf of a person
    monitors     link 2: orders down, decisions up

What comes by a link is in the ledger before it is acknowledged.
"""
