"""How large a fleet one control plane carries: `make bench-fleet`.

A control plane of its own, as a process of its own, with agents from console.simulation, at a quarter, at half and at
the whole of the size that was asked for: what an agent costs must not grow with the number of the others. CPU is what
the kernel counted for the control plane's process, so that a busy machine does not spoil it; seconds are the wall's,
and suffer.

    runs     one size: a control plane, a model, all stages (I/O)
    goals    what has to be reached (pure)
    page     docs/fleet.md of the rows (pure)
"""
