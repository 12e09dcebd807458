"""Messages as records and back."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.store import Put, Record, open_stores
from control_plane.store import observed_rows as rows
from control_plane.store.resources import (
    DESIRED,
    POSITION,
    PROJECT,
    WATCHED,
    Resources,
    desired_name,
    encode_desired,
    etag,
)
from waypost.api.control.v1.position_pb2 import Position
from waypost.api.control.v1.project_pb2 import Project
from waypost.api.link.v1.agent_link_pb2 import PositionReport
from waypost.api.link.v1.link_pb2 import Item
from waypost.errors import NotFound

SERVER, NAME = "edgeServers/e", "projects/p/applications/a/positions/x"


def test_a_record_holds_what_people_wrote_and_nothing_else() -> None:
    position = Position(name=NAME, description="north", etag="old", status={"message": "serves"})
    put = POSITION.encode(NAME, position)
    read = POSITION.decode(Record(put.name, put.kind, 17, put.body))
    assert (read.description, read.status.message, read.etag) == ("north", "", etag(17))
    assert position.status.message == "serves", "the caller's message is left as it is"


def test_etags_differ_exactly_when_revisions_do() -> None:
    assert len({etag(revision) for revision in range(1000)}) == 1000


def test_every_kind_that_is_watched_is_a_field_of_its_watch() -> None:
    from waypost.api.control.v1.watch_pb2 import WatchResponse

    shown = {field.name: field.message_type for field in WatchResponse.DESCRIPTOR.oneofs_by_name["change"].fields}
    for name, kind in WATCHED.items():
        assert shown[name] is kind.message.DESCRIPTOR


@given(st.permutations([Item(name=name, generation=n, body=b"x") for n, name in enumerate("abc")]))
def test_a_desired_state_is_the_same_bytes_whatever_the_order_of_its_items(items: list[Item]) -> None:
    put = encode_desired(SERVER, items)
    assert put == encode_desired(SERVER, sorted(items, key=lambda item: item.name))
    read = DESIRED.decode(Record(put.name, put.kind, 1, put.body))
    assert (put.name, [item.name for item in read.upserts]) == (desired_name(SERVER), ["a", "b", "c"])


def test_a_name_of_another_kind_is_not_found() -> None:
    async def scenario() -> None:
        async with open_stores("sqlite://") as stores:
            resources = Resources(stores.records)
            project = PROJECT.encode("projects/p", Project(name="projects/p"))
            await stores.records.commit([project, Put("projects/q", "other", b"")])
            assert (await resources.get(PROJECT, "projects/p")).revision == 1
            assert (await resources.find_many(PROJECT, ["projects/p", "projects/q", "projects/r"])).keys() == {
                "projects/p"
            }
            with pytest.raises(NotFound) as refused:
                await resources.get(PROJECT, "projects/q")
            assert refused.value.reason == "PROJECT_NOT_FOUND"

    asyncio.run(scenario())


def test_a_report_is_kept_for_its_edge_server_and_position() -> None:
    row = rows.report_row(SERVER, NAME, PositionReport(uid="u"))
    assert rows.split_report_name(row.name) == (SERVER, NAME)

    async def scenario() -> None:
        async with open_stores("sqlite://") as stores:
            await stores.observed.put([row])
            assert (await rows.read_reports(stores.observed, [(SERVER, NAME)]))[SERVER, NAME].uid == "u"
            assert await rows.read_reports(stores.observed, [("edgeServers/other", NAME)]) == {}

    asyncio.run(scenario())
