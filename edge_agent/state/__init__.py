"""What must survive a kill at any moment.

    ledger      the agent's memory
    pages       one page of it: a file, and the one before
    journal     what became of commands
    solitude    for how long no control plane was there

Write first, then act: then whatever was begun can be begun again.
"""
