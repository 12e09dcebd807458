"""grpcio at its best: the synchronous server with four threads, one generic handler, protobuf and onnxruntime.

Measured against other numbers of threads and against grpc.aio, which costs half as much again.
"""

from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
from peer import arguments, run

from waypost.api.inference.v1 import inference_pb2 as oip

THREADS = 4
MESSAGE_BYTES_MAX = 16 << 20


def main() -> None:
    given = arguments()
    sessions = given.sessions()

    def infer(request: oip.ModelInferRequest, context: grpc.ServicerContext) -> oip.ModelInferResponse:
        x = np.frombuffer(request.raw_input_contents[0], np.float32).reshape(request.inputs[0].shape)
        y = run(sessions[request.model_name], x)
        return oip.ModelInferResponse(
            model_name=request.model_name,
            id=request.id,
            outputs=[oip.InferOutputTensor(name="y", datatype="FP32", shape=y.shape)],
            raw_output_contents=[y.tobytes()],
        )

    handler = grpc.unary_unary_rpc_method_handler(
        infer, oip.ModelInferRequest.FromString, oip.ModelInferResponse.SerializeToString
    )
    server = grpc.server(ThreadPoolExecutor(THREADS), options=[("grpc.max_receive_message_length", MESSAGE_BYTES_MAX)])
    service = "inference.GRPCInferenceService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"ModelInfer": handler}),))
    server.add_insecure_port(f"127.0.0.1:{given.grpc}")
    server.start()
    server.wait_for_termination()


main()
