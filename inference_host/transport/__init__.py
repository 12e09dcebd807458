"""How it is said: one port, two protocols, and nothing of what is served.

    methods      the gRPC methods of all faces, as a table      auth   access tokens
    server       listens      connections   all of a host's, and what they may cost together
    h2           HTTP/2 around waypost.wire      h2_calls   calls on its streams (h2_unary, h2_streaming)
      h2_heads, h2_messages   what goes in and out of them
    http1        HTTP/1.1 around two modules      http1_core, http1_head   PURE: requests out of bytes
    message_buffer   where large messages are gathered      encodings   compression
    grpcio_front     the table under grpc.aio, where somebody asks for it

What a peer may cost is bounded here; every breach ends a connection or a call with a code and a reason.
"""
