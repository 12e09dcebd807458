"""`waypost status`: the whole platform on one screen."""

from typing import Any

from console import columns, messages
from console.cli.session import Session, command, group
from console.kinds import EDGE_SERVER, POSITION, SUBSCRIPTION, Kind
from mesh import clock
from waypost import names
from waypost.api.control.v1.platform_pb2 import GetPlatformRequest, GetPlatformResponse
from waypost.api.control.v1.position_pb2 import PositionState

app = group("")


@command(app, "status")
def status(session: Session) -> None:
    """Show the platform, its edge servers and positions."""
    platform = session.client.call(session.client.platform.GetPlatform, GetPlatformRequest())
    found = {kind: list(session.resources.list(kind)) for kind in (EDGE_SERVER, POSITION, SUBSCRIPTION)}
    if session.json:
        listed = {f"{kind.snake}s": resources for kind, resources in found.items()}
        session.show_json({"platform": platform, **listed})
        return
    now = clock.now()
    _say_platform(session, platform, now)
    for kind, resources in found.items():
        _say_kind(session, kind, resources, now)
    _say_troubles(found[POSITION])


def _say_platform(session: Session, platform: GetPlatformResponse, now: float) -> None:
    context = session.client.context
    started = messages.age(platform.start_time, now)
    print(f"waypost {platform.version} at {context.address} (context {context.name}), started {started}")
    print(f"you are {platform.caller}; agents join {platform.link_address}")
    if platform.HasField("restore_time"):
        print(f"its store was restored from a backup {messages.age(platform.restore_time, now)}")
        if trouble := columns.problem(platform.conditions):
            print(f"  {trouble}")


def _say_kind(session: Session, kind: Kind, resources: list[Any], now: float) -> None:
    print(f"\n{kind.words.capitalize()}s")
    if resources:
        session.table(columns.COLUMNS[kind].header, columns.rows(kind, resources, now), nothing="")
    else:
        print("none")


def _say_troubles(positions: list[Any]) -> None:
    """Positions that are not in service, with the reason and the next step."""
    for position in positions:
        if position.status.state == PositionState.POSITION_STATE_IN_SERVICE:
            continue
        print(f"\n{names.short(position.name)}: {position.status.message}")
        trouble = columns.problem(position.status.conditions)
        if trouble and position.status.message not in trouble:
            print(f"  {trouble}")
        if position.status.hint:
            print(f"  hint: {position.status.hint}")
