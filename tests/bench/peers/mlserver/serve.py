"""MLServer with a custom runtime, without worker processes: those more than double what a call costs."""

import asyncio
from pathlib import Path

import onnxruntime
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.settings import ModelParameters
from mlserver.types import InferenceRequest, InferenceResponse
from peer import arguments, run, session


class Onnx(MLModel):
    _session: onnxruntime.InferenceSession

    async def load(self) -> bool:
        self._session = session(Path(self.settings.parameters.uri))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        y = run(self._session, NumpyCodec.decode_input(payload.inputs[0]))
        outputs = [NumpyCodec.encode_output("y", y)]
        return InferenceResponse(model_name=self.name, id=payload.id, outputs=outputs)


async def main() -> None:
    given = arguments()
    settings = Settings(
        host="127.0.0.1",
        http_port=given.http,
        grpc_port=given.grpc,
        metrics_endpoint=None,
        parallel_workers=0,
        debug=False,
        grpc_max_message_length=16 << 20,
    )
    models = [
        ModelSettings(
            name=name,
            implementation=Onnx,
            parameters=ModelParameters(uri=str(given.models_dir / name / "model.onnx")),
        )
        for name in given.models
    ]
    server = MLServer(settings)
    await server.start(models)


asyncio.run(main())
