"""PyTriton: Triton's own server in front of a Python process, with its dynamic batching and no delay."""

import numpy as np
import onnxruntime
from peer import arguments, run
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig, TritonSecurityConfig

BATCH_MAX = 64
ACCESS_TOKEN = "bench"  # for the calls that PyTriton guards, which perf_analyzer makes


def shapes(session: onnxruntime.InferenceSession) -> tuple[Tensor, Tensor]:
    x, y = session.get_inputs()[0], session.get_outputs()[0]
    return Tensor(name="x", dtype=np.float32, shape=x.shape[1:]), Tensor(name="y", dtype=np.float32, shape=y.shape[1:])


def main() -> None:
    given = arguments()
    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=given.http,
        grpc_address="127.0.0.1",
        grpc_port=given.grpc,
        allow_metrics=False,
        log_verbose=0,
    )
    security = TritonSecurityConfig(access_token=ACCESS_TOKEN)
    with Triton(config=config, security_config=security) as triton:
        for name, session in given.sessions().items():

            @batch
            def infer(x: np.ndarray, session: onnxruntime.InferenceSession = session) -> dict[str, np.ndarray]:
                return {"y": run(session, x)}

            given_shape, answered_shape = shapes(session)
            triton.bind(name, infer, [given_shape], [answered_shape], config=ModelConfig(max_batch_size=BATCH_MAX))
        triton.serve()


main()
