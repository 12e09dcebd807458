"""Gateways: a real proxy in front of the inference hosts, never one of ours.

    base      the seam: whole route tables down, an acknowledgement up
    routes    PURE: the one route model that every gateway is rendered from
    envoy/    the embedded default, one process beside the agent
    fake      in memory, for tests

`open_gateway` (edge_agent/assembly.py) chooses.
"""
