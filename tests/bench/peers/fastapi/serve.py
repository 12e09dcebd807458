"""FastAPI on uvicorn as its documentation shows it: a pydantic body, one worker, uvloop, no access log."""

from typing import Any

import uvicorn
from fastapi import FastAPI
from peer import arguments, infer_json
from pydantic import BaseModel


class Tensor(BaseModel):
    name: str
    datatype: str
    shape: list[int]
    data: list[float]


class InferRequest(BaseModel):
    id: str = ""
    inputs: list[Tensor]


def main() -> None:
    given = arguments()
    sessions = given.sessions()
    app = FastAPI()

    @app.post("/v2/models/{model}/infer")
    async def infer(model: str, request: InferRequest) -> dict[str, Any]:
        return infer_json(model, sessions[model], request.model_dump())

    uvicorn.run(app, host="127.0.0.1", port=given.http, access_log=False, log_level="warning")


main()
