"""`waypost infer`: one inference through a position's own gateway, carried there by the platform."""

import json
from typing import Annotated, Any

import typer

from console import inference
from console.cli.session import Session, command, group
from console.kinds import POSITION, VERSION
from mesh import text
from waypost import names
from waypost.api.control.v1.model_pb2 import Signature
from waypost.api.control.v1.position_pb2 import Position, TryPositionRequest
from waypost.api.inference.v1.inference_pb2 import ModelInferResponse
from waypost.errors import Precondition

app = group("")

OUTPUT_CHARACTERS_MAX = 2000  # of one output for people; `-o json` has all of it


@command(app, "infer")
def infer(
    session: Session,
    position: Annotated[str, typer.Argument(metavar="POSITION", help="For example uav/path-prediction/tower-7.")],
    body: Annotated[
        str | None,
        typer.Argument(metavar="JSON", help="All inputs: '[1, 2, 3]', '{\"x\": [1, 2, 3]}', @file.json or - (stdin)."),
    ] = None,
    inputs: Annotated[
        list[str] | None, typer.Option("--input", metavar="NAME=VALUE", help="VALUE: JSON, @file.npy or @file.json.")
    ] = None,
) -> None:
    """Try a position with one inference.

    It goes where an xApp's calls go: through the gateway to an inference host. Batch dimensions of 1 may be left out.
    """
    given = inference.values(inputs or (), body)
    wanted = session.resources.get(POSITION, POSITION.parse(position))
    request = inference.request(given, _signature(session, wanted))
    answer = session.client.call(
        session.client.positions.TryPosition,
        TryPositionRequest(name=wanted.name, request=request.SerializeToString()),
    )
    response = ModelInferResponse.FromString(answer.response)
    _print(session, response, inference.outputs(response), answer.latency_ms)


def _signature(session: Session, position: Position) -> Signature:
    """Of the version that serves most calls now; of the one that is wanted where nothing has been reported."""
    serving = sorted(position.status.serving, key=lambda version: version.weight)
    name = serving[-1].model_version if serving else position.spec.model_version
    signature: Signature = session.resources.get(VERSION, name).signature
    if not signature.inputs:
        raise Precondition(
            "NO_SIGNATURE", f"nothing is known of the inputs of {names.short(name)}", "is it IMPORTING still?"
        )
    return signature


def _print(session: Session, response: ModelInferResponse, outputs: dict[str, Any], latency_ms: float) -> None:
    if session.json:
        found = {"model_name": response.model_name, "model_version": response.model_version}
        session.show_json({**found, "latency_ms": latency_ms, "outputs": outputs})
        return
    for name, value in outputs.items():
        written = json.dumps(value, ensure_ascii=False)
        cut = len(written) > OUTPUT_CHARACTERS_MAX
        print(f"{name}: {written[:OUTPUT_CHARACTERS_MAX]}{' ... (-o json shows all of it)' if cut else ''}")
    session.note(f"\n{response.model_name} {response.model_version} · {text.duration(latency_ms / 1000)}")
