"""The inference host: one model version, served over the Open Inference Protocol. One process per replica.

    app          which command is meant      running   `run`, from settings to an exit code (failure_note)
      settings   what can be chosen      preload   what a nursery imports for hosts at positions
    host         one host from start to end: listen, load, serve, drain
    dataplane    what it answers, on plain values; errors are MeshErrors      calls   those values
      repository   which model versions there are: brought up, loaded anew, unloaded      served   one of them
      plan         what follows from the form of a call, found out once
      loader       from a package to a model that has answered (READY is proven)      model   in memory
      probe        how long it takes, and whether calls may go through it together
      lane         from a call to its answer: deadlines, runs of several calls (runs)
      backlog      PURE: what waits, by urgency
      sequences    PURE: which step of which sequence may run, and what it meets      sequence_lane   a lane of them
      batching     PURE: what waits, what runs next, what is refused      estimates   PURE: how long runs take
      execution    where models run: on the event loop, on a few threads (workers, turns), in tasks
      meter        what is counted
      memo         PURE: what was worked out once and is asked for again
    lifecycle    PURE: LOADING, WARMING, READY, DRAINING, UNLOADED, FAILED
    manifest     packages: what there is to load (template_source)      signature, tensors   what goes in and comes out
    template     the code around a model, the users'      onnx     the default one
      template_metrics   what it counts itself      requirements   the libraries that it needs
      faults       the fence around it: what is its failure, and where it was      watchdog   it blocks the event loop
    oip_grpc     face: the Open Inference Protocol over gRPC      oip_stream   its streams
      oip_codec  inferences by hand      oip_messages   and by protobuf
    oip_http     face: the same over HTTP, with its errors (http_errors)      oip_routes   its paths
      http_inference     inferences in JSON and binary (oip_json, encodings)
    oip_extensions, replies   what both tell: configuration, statistics, settings; and what goes around an answer
    xapp_grpc    face: inference in plain values      reflection   for grpcurl
    access_by_hand   face: lets the SDK in where no monitor does
    methods      the gRPC methods of all faces, as a table
    supervisor   several processes at one address, as many as there are CPUs (cores)
      worker     one of them      alone   what they cannot have
    server       one port, two protocols      connections   all of a host's, and what they may cost together
      h2         HTTP/2 around waypost.wire      h2_calls   calls on its streams (h2_unary, h2_streaming)
      h2_heads, h2_messages   what goes in and out of them
      http1      HTTP/1.1 around two modules      http1_core, http1_head   PURE: requests out of bytes
      assembly   where large messages are gathered
    grpcio_front  the table under grpc.aio, where somebody asks for it
    health       grpc.health.v1      auth    access tokens
    uplink       link 3, to the monitor      monitoring   what is said there
    checker      `waypost host check`: the same loading in a confined process
      confine    shuts it in
      landlock, mounts, seccomp    by what: which files it has, that it changes none, whom it may call
      readable   what is left to read
    reload       `waypost host run --reload`      example      what a host greets with
    workbench    `waypost host init`, `test` and `bench`, for those who write templates

Nothing below the faces knows a transport, and no face knows which front end serves it.
"""

import os

import mesh.plain_logs  # noqa: F401 — before anything that logs

# Before onnxruntime is loaded, which else tells its makers what runs here, and keeps a database for that in the home
# directory. What an edge server runs is its operator's business alone.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
