"""The inference host: one model version, served over the Open Inference Protocol. One process per replica.

    app          settings, subcommands `run` and `check`, exit codes
    host         one host from start to end: listen, load, serve, drain
    dataplane    what it answers, on plain values; errors are MeshErrors       calls: those values
      loader       from a package to a model that has answered (READY is proven)
      execution    where models run: on the event loop or on a few threads
      meter        what is counted
    lifecycle    PURE: LOADING, WARMING, READY, DRAINING, FAILED
    manifest     packages: what there is to load          signature, tensors     what goes in and comes out
    template     the code around a model, the users' or   onnx     the default one
    oip_grpc, oip_http (oip_json, encodings), xapp_grpc   faces: thin skins over the data plane
    http1        HTTP/1.1 on asyncio, over http1_core (PURE)
    health       grpc.health.v1      auth    access tokens      uplink    link 3, to the monitor
    checker      `waypost host check`: the same loading in a confined process (confine)

Nothing below the faces knows a transport, so that another one can take grpcio's place.
"""
