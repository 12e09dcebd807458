"""The benchmark of the inference host: `make bench`.

Our host as the agent starts it, beside a C++ gRPC server, grpcio's threaded server and the servers that people would
otherwise take, all with the same models, the same requests and the same driver. docs/benchmarks.md is what it writes.

    models, requests     what is asked, and what must be answered
    driver/, load        the driver in C++, and how it is called
    peers/, servers      the servers: one small program and one line in a table each; `waypost` is ours
    machine, processes   cores, CPU time, memory
    cells, passes        what is measured, and in which order: ours, theirs, ours, so that drift cancels
    figures, goals       from rows to ratios, and what they should be
    report, plot         the pages

Absolute figures of two runs must not be compared on a machine with other tenants; ratios of one run may be.
"""
