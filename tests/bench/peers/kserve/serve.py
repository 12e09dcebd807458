"""KServe's Python server with one custom model per graph, its logs of each call turned off."""

import sys

from peer import arguments, run

GIVEN = arguments()
del sys.argv[1:]  # KServe reads the command line as its own when it is imported

import kserve  # noqa: E402
import onnxruntime  # noqa: E402
from kserve import InferOutput, InferRequest, InferResponse, ModelServer  # noqa: E402


class Onnx(kserve.Model):
    def __init__(self, name: str, session: onnxruntime.InferenceSession) -> None:
        super().__init__(name)
        self._session = session
        self.ready = True

    async def predict(
        self, payload: InferRequest, headers: object = None, response_headers: object = None
    ) -> InferResponse:
        y = run(self._session, payload.inputs[0].as_numpy())
        output = InferOutput("y", list(y.shape), "FP32")
        output.set_data_from_numpy(y, binary_data=payload.from_grpc)
        return InferResponse(payload.id, self.name, [output], from_grpc=payload.from_grpc)


def main() -> None:
    models = [Onnx(name, session) for name, session in GIVEN.sessions().items()]
    ModelServer(
        http_port=GIVEN.http,
        grpc_port=GIVEN.grpc,
        workers=1,
        enable_docs_url=False,
        enable_latency_logging=False,
        access_log_format=None,
    ).start(models)


main()
