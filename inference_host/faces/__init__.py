"""What a host says, whichever front end carries it.

    oip_grpc     the Open Inference Protocol over gRPC      oip_stream   its streams
      oip_codec  inferences by hand      oip_messages   and by protobuf
    oip_http     the same over HTTP, with its errors (http_errors)      oip_routes   its paths
      http_inference     inferences in JSON and binary
    oip_extensions, replies   what both tell: configuration, statistics, settings; and what goes around an answer
    xapp_grpc    inference in plain values      reflection   for grpcurl
    health       grpc.health.v1
    monitoring   what the monitor is told, and tells
    access_by_hand   lets the SDK in where no monitor does

Each is a thin skin over `serving.dataplane`.
"""
