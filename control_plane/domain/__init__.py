"""The part of the control plane that decides.

Pure: values in, values out; no clock, no luck, no I/O.

    plan          from what people want to what each edge server is told
      placement   the two choices behind each assignment: where, and with which version
      absence     where else, while an edge server is away
      own_items   what an edge server is told of itself
      types       the values that all of this reasons about
    assignments   messages to these values, and back
    check         whether a resource that somebody sent is one that we can keep
    quota         whether what a project asks for is within its quota
    status        what a position shows
"""
