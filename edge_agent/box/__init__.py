"""What people do on the machine itself.

    client     `waypost agent status`, `hold`, `drain`, `logs` and so on: they ask the agent that runs
    service    the agent's answers
    install    versions of the software, brought here
    upgrade    the agent, replaced by another version of itself
    stop       the end of all that one agent has started

All of it works where no control plane can be reached.
"""
