"""The inference host: one model version, served over the Open Inference Protocol. One process per replica.

    app            which command is meant      running   `run`, from settings to an exit code (failure_note)
    workbench/     `waypost host init`, `test` and `bench`, for those who write templates
    check/         `waypost host check`: the same loading in a confined process
    reload         `waypost host run --reload`      example   what a host greets with
    host           one host from start to end: listen, load, serve, drain
    uplink         link 3, to the monitor
    processes/     several processes at one address, as many as there are CPUs
    faces/         what a host says: the Open Inference Protocol over gRPC and HTTP, and other services
    transport/     how it is said: HTTP/2 and HTTP/1.1 at one port
    serving/       from a call to its answer
    model/         from a package to code that can be run
    values/        what all of them pass around: calls, tensors, signatures
    settings       what can be chosen      preload   what a nursery imports for hosts at positions
    template       what those import who write templates

Imports run down this list, and neither transport nor serving knows the other (.importlinter).
"""

import os

import mesh.plain_logs  # noqa: F401 — before anything that logs

# Before onnxruntime is loaded, which else tells its makers what runs here, and keeps a database for that in the home
# directory. What an edge server runs is its operator's business alone.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
