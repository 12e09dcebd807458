"""Several processes at one address, as many as there are CPUs.

    supervisor    starts them, and speaks for all of them to the monitor
    worker        one of them
    cores         how many there are

They share their address and nothing else.
"""
