"""The machine that the agent has: what lies where, and what may be relied upon.

    layout        every directory and file
    storage       what a disk says, as errors; how something large leaves it
    lock          one agent per data directory
    wall_clock    a clock that jumps
    software      versions of the platform's software that are installed

Of positions it knows their directories, and nothing else.
"""
