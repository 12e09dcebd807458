"""What all of a host passes around.

    calls        calls, answers, and what is told of models
    tensors      arrays, by the protocol's datatypes
    signature    what goes into a model and comes out
    oip_json     the protocol's JSON, both ways
    memo         PURE: what was worked out once and is asked for again

Nobody changes a value that was handed over.
"""
