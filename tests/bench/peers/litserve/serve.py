"""LitServe: a process that answers HTTP and one worker process per model, its defaults for a CPU."""

import litserve
from peer import arguments, infer_json, session


class Onnx(litserve.LitAPI):
    def __init__(self, model: str, path: str) -> None:
        super().__init__(api_path=f"/v2/models/{model}/infer")
        self._model, self._path = model, path

    def setup(self, device: str) -> None:
        self._session = session(self._path)

    def predict(self, body: dict) -> dict:
        return infer_json(self._model, self._session, body)


def main() -> None:
    given = arguments()
    apis = [Onnx(model, given.models_dir / model / "model.onnx") for model in given.models]
    server = litserve.LitServer(apis, accelerator="cpu", devices=1, workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=given.http,
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )


if __name__ == "__main__":  # its workers import this file again
    main()
