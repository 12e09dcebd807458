"""The gateway's directory."""

import json
from pathlib import Path

from edge_agent.gateways.envoy.config import NOTHING, Resources, witness
from edge_agent.gateways.envoy.files import Files
from edge_agent.gateways.routes import Backend, PositionRoute, RouteTable

HOST = Backend("r-1", "unix:/run/1.grpc", "unix:/run/1.http", "v1", 100)
TABLE = RouteTable((PositionRoute("u-1", "projects/p/applications/a/positions/x", 3, (HOST,), "unix:/m", 7700, True),))

REFUSED = """\
[2026-11-22 21:58:54.661][7][warning][main] [source/server/server.cc:1059] something else
[2026-11-22 21:58:55.000][7][warning][config] [source/extensions/a/b_impl.cc:64] Filesystem config update rejected: why
"""


def test_the_table_that_is_live_is_read_back_as_it_was(tmp_path: Path) -> None:
    files = Files(tmp_path)
    assert files.held() is None
    for table in (TABLE, RouteTable()):
        files.hold(table)
        held = files.held()
        assert held == table
        assert held.hash == table.hash


def test_what_cannot_be_read_is_no_table(tmp_path: Path) -> None:
    for text in ("", "{", "[[]]", '[{"uid": 1}]', '[{"hosts": [{"id": "x"}]}]'):
        (tmp_path / "routes.json").write_text(text)
        assert Files(tmp_path).held() is None, text


def test_a_reset_leaves_nothing_of_what_was(tmp_path: Path) -> None:
    files = Files(tmp_path / "gateway")
    assert files.bootstrap() == ""
    files.reset("one")
    files.write("cds", Resources("7", '{"version_info":"7"}'))
    files.hold(TABLE)
    files.reset("two")
    assert files.bootstrap() == "two"
    assert files.held() is None
    assert (tmp_path / "gateway" / "cds.json").read_text() == NOTHING.text
    assert json.loads(NOTHING.text)["resources"] == []


def test_the_version_is_that_of_the_file(tmp_path: Path) -> None:
    files = Files(tmp_path)
    assert files.version("cds") == ""
    for resources in (NOTHING, witness("a word")):
        files.write("cds", resources)
        assert files.version("cds") == resources.version
    (tmp_path / "cds.json").write_text("{")
    assert files.version("cds") == ""


def test_files_are_whole_where_envoy_could_start_with_them(tmp_path: Path) -> None:
    files = Files(tmp_path)
    assert not files.whole()
    files.reset("bootstrap")
    assert files.whole()
    (tmp_path / "rds.json").write_text("")
    assert not files.whole()


def test_envoys_complaint_is_the_last_one_since_we_looked(tmp_path: Path) -> None:
    files, log = Files(tmp_path), tmp_path / "log"
    assert files.log_size() == 0
    log.write_text(REFUSED)
    assert files.complaint(0) == "Filesystem config update rejected: why"
    since = files.log_size()
    assert files.complaint(since) == "Envoy does not say why"
    log.write_text(REFUSED + REFUSED.replace("why", "therefore"))
    assert files.complaint(since) == "Filesystem config update rejected: therefore"
