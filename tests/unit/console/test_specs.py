"""Resources as YAML: the law, the refusals, and the three commands."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console import specs
from console.kinds import EDGE_SERVER, KINDS, POSITION, PROJECT, SUBSCRIPTION, Kind
from tests.unit.console.conftest import Run
from tests.unit.console.fake_platform import FakePlatform
from waypost import names
from waypost.errors import Invalid

TOWER = """\
kind: Position
name: uav/path/tower-7
labels: {site: north, 'on': 'yes'}
spec:
  model_version: uav/path/lstm/1.10
  edge_server: edgeServers/edge-1
  replicas: {min: 1, max: 2}
  resources: {memory_bytes: 536870912}
"""

ids = st.from_regex(r"[a-z](?:[a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
# Whatever YAML might mistake: numbers, dates, booleans, quotes, line ends, letters of any script.
texts = st.one_of(
    st.sampled_from(["yes", "null", "~", "1.10", "0x1F", "2026-11-22", "a: b", "- x", "#", "'", '"', " ", "a\nb\n"]),
    st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=20),
)
labels = st.dictionaries(texts.filter(bool), texts, max_size=3)


def full(collection: str) -> st.SearchStrategy[str]:
    form = names.FORMS[collection]
    return st.tuples(*[ids] * len(form)).map(
        lambda parts: "/".join(f"{s}/{p}" for s, p in zip(form, parts, strict=True))
    )


@st.composite
def resources(draw: st.DrawFn) -> tuple[Kind, Any]:
    kind = draw(st.sampled_from(KINDS))
    resource = kind.new(draw(full(kind.collection)))
    for field in kind.writable:
        if field == "labels":
            resource.labels.update(draw(labels))
        elif field != "spec":
            setattr(resource, field, draw(texts))
    if kind is SUBSCRIPTION:
        resource.spec.endpoint = draw(texts)
        resource.spec.project = draw(full("projects"))
        resource.spec.ca_pem = draw(texts)
    if kind is POSITION and draw(st.booleans()):
        fill_spec(draw, resource.spec)
    if hasattr(resource, "subscription") and draw(st.booleans()):
        resource.subscription = "subscriptions/local"
    return kind, resource


def fill_spec(draw: st.DrawFn, spec: Any) -> None:
    spec.model_version = draw(full("versions"))
    spec.edge_server = draw(full("edgeServers"))
    spec.replicas.min, spec.replicas.max = draw(st.integers(0, 64)), draw(st.integers(0, 64))
    spec.serve_as = draw(texts)
    if draw(st.booleans()):
        spec.endpoint.dedicated_port = draw(st.booleans())
    if draw(st.booleans()):
        spec.resources.cpu_millis = draw(st.integers(0, 2**40))
        spec.resources.memory_bytes = draw(st.integers(0, 2**62))


@given(resources())
def test_what_export_writes_changes_nothing_when_applied(case: tuple[Kind, Any]) -> None:
    kind, resource = case
    for document in specs.load(specs.export(kind, resource), "exported"):
        assert document.name == resource.name
        assert specs.changed(document, resource) == []


@given(resources())
def test_what_a_person_may_write_is_all_in_the_export(case: tuple[Kind, Any]) -> None:
    kind, resource = case
    if getattr(resource, "subscription", ""):
        return
    (document,) = specs.load(specs.export(kind, resource), "exported")
    for field in kind.writable:
        assert getattr(specs.canonical(kind, document.resource), field) == getattr(
            specs.canonical(kind, resource), field
        )


def test_names_may_be_short_or_full_and_texts_stay_what_they_are() -> None:
    (document,) = specs.load(TOWER, "tower.yaml")
    spec = document.resource.spec
    assert document.name == "projects/uav/applications/path/positions/tower-7"
    assert spec.model_version == "projects/uav/applications/path/models/lstm/versions/1.10"
    assert spec.edge_server == "edgeServers/edge-1"
    assert dict(document.resource.labels) == {"site": "north", "on": "yes"}
    assert spec.resources.memory_bytes == 512 << 20
    assert document.given == ("labels", "spec")


ATHENS = """\
kind: EdgeServer
name: edge-1
spec:
  software_version: 0.20
  maintenance_windows:
  - days: [SATURDAY, weekday_sunday]
    start: 02:30
    duration: 7200s
    time_zone: Europe/Athens
"""

ALONE = """\
kind: Position
name: uav/path/tower-7
spec:
  on_disconnect:
    stop_after: 3600s
    fallback_edge_servers: [edge-2, edgeServers/edge-3]
    on_return: KEEP_ORIGINAL
"""


def test_lists_durations_and_enums_are_written_as_people_say_them() -> None:
    (document,) = specs.load(ATHENS, "athens.yaml")
    (window,) = document.resource.spec.maintenance_windows
    assert document.resource.spec.software_version == "0.20"
    assert (list(window.days), window.start, window.duration.seconds) == ([6, 7], "02:30", 7200)
    (document,) = specs.load(ALONE, "alone.yaml")
    rule = document.resource.spec.on_disconnect
    assert (rule.stop_after.seconds, rule.on_return) == (3600, 1)
    assert list(rule.fallback_edge_servers) == ["edgeServers/edge-2", "edgeServers/edge-3"]


@pytest.mark.parametrize("text", [ATHENS, ALONE], ids=["windows", "on_disconnect"])
def test_lists_durations_and_enums_come_back_as_they_were(text: str) -> None:
    (document,) = specs.load(text, "given")
    exported = specs.export(document.kind, document.resource)
    assert specs.changed(specs.load(exported, "exported")[0], document.resource) == []
    assert "s\n" in exported
    assert "KEEP_ORIGINAL" in exported or "SATURDAY" in exported


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[SATURDAY, weekday_sunday]", "SATURDAY", "athens.yaml:6: 'days' must be a list"),
        ("SATURDAY", "CATURDAY", "athens.yaml:6: 'days' must be one of UNSPECIFIED, MONDAY, TUESDAY"),
        ("7200s", "2h", "athens.yaml:8: 'duration' must be seconds, such as 3600s"),
    ],
)
def test_a_wrong_list_duration_or_enum_is_refused_with_its_line(old: str, new: str, says: str) -> None:
    with pytest.raises(Invalid) as refused:
        specs.load(ATHENS.replace(old, new), "athens.yaml")
    assert refused.value.message.startswith(says)


def test_what_is_left_out_means_its_default() -> None:
    (document,) = specs.load(TOWER.replace("  replicas: {min: 1, max: 2}\n", ""), "tower.yaml")
    current = POSITION.new(document.name)
    current.CopyFrom(document.resource)
    current.spec.replicas.min = current.spec.replicas.max = 1
    current.spec.serve_as = "tower-7"
    current.spec.endpoint.dedicated_port = False
    assert specs.changed(document, current) == []
    current.spec.replicas.max = 2
    assert specs.changed(document, current) == ["spec"]


def test_a_field_that_is_not_named_is_left_alone() -> None:
    (document,) = specs.load("kind: Project\nname: uav\ndisplay_name: UAV\n", "uav.yaml")
    current = PROJECT.new("projects/uav")
    current.display_name = "UAV"
    current.description = "somebody's words"
    assert specs.changed(document, current) == []


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        pytest.param(
            TOWER.replace("replicas", "replica"),
            "a.yaml:7: 'replica' is no key here; did you mean 'replicas'?",
            "known here: model_version, edge_server, replicas, serve_as, endpoint, resources, on_disconnect,"
            " software_version, autoscaling",
            id="unknown key",
        ),
        pytest.param(
            "---\nkind: Project\nname: uav\n---\nkind: Project\nname: beam\ntitle: x\n",
            "a.yaml:7: 'title' is no key here",
            "known here: kind, name, display_name, description, labels, spec",
            id="unknown key at the top of the second document",
        ),
        pytest.param(
            TOWER + "status: {}\n", "a.yaml:9: 'status' is written by the platform only", "leave it out", id="status"
        ),
        pytest.param(
            TOWER + "kind: Position\n", "a.yaml:9: 'kind' is given twice", specs.spec_reader.REFERENCE, id="key twice"
        ),
        pytest.param(
            TOWER.replace("min: 1", "min: lots"),
            "a.yaml:7: 'min' must be a whole number",
            specs.spec_reader.REFERENCE,
            id="no number",
        ),
        pytest.param(
            TOWER.replace("{min: 1, max: 2}", "2"),
            "a.yaml:7: keys with values are expected here",
            specs.spec_reader.REFERENCE,
            id="no mapping",
        ),
        pytest.param(
            TOWER.replace("uav/path/lstm/1.10", "lstm"),
            "a.yaml:5: 'lstm' is not the name of one of versions",
            f"write it as {names.example('versions')}",
            id="bad reference",
        ),
        pytest.param(
            TOWER.replace("edgeServers/edge-1", ""),
            "a.yaml:6: a value is missing here",
            'leave the key out, or write "" for an empty text',
            id="no value",
        ),
        pytest.param(
            "name: uav\n",
            "a.yaml:1: this document does not say what it describes",
            f"begin it with `kind:` and one of {', '.join(kind.noun for kind in KINDS)}",
            id="no kind",
        ),
        pytest.param(
            "kind: Pod\nname: uav\n",
            "a.yaml:1: 'Pod' is no kind of resource",
            f"one of {', '.join(kind.noun for kind in KINDS)}",
            id="other kind",
        ),
        pytest.param(
            "kind: EdgeServer\n",
            "a.yaml:1: this edge server has no name",
            f"write `name: {names.example('edgeServers')}`",
            id="no name",
        ),
        pytest.param(
            "kind: [\n",
            "a.yaml:2: this is not YAML: expected the node content, but found '<stream end>'",
            specs.spec_reader.REFERENCE,
            id="no YAML",
        ),
    ],
)
def test_what_would_be_misunderstood_is_refused_with_its_line(text: str, message: str, hint: str) -> None:
    with pytest.raises(Invalid) as refused:
        specs.load(text, "a.yaml")
    assert (refused.value.reason, refused.value.message, refused.value.hint) == ("BAD_SPEC", message, hint)


def test_one_resource_may_not_be_described_twice() -> None:
    documents = specs.load("kind: Project\nname: uav\n---\nkind: Project\nname: projects/uav\n", "a.yaml")
    with pytest.raises(Invalid, match=r"projects/uav is described in a\.yaml:1 already"):
        specs.in_order(documents)


def test_owners_come_before_what_they_own() -> None:
    documents = specs.load(f"{TOWER}---\nkind: EdgeServer\nname: edge-1\n---\nkind: Project\nname: uav\n", "a.yaml")
    assert [document.kind.noun for document in specs.in_order(documents)] == ["Project", "EdgeServer", "Position"]


def test_apply_makes_changes_and_then_leaves_alone(platform: FakePlatform, waypost: Run, tmp_path: Path) -> None:
    (tmp_path / "tower.yaml").write_text(TOWER)
    (tmp_path / "server.yml").write_text("kind: EdgeServer\nname: edge-1\n")
    (tmp_path / "notes.txt").write_text("not a spec")
    assert waypost("apply", "-f", str(tmp_path))[1] == "edge server edge-1 created\nposition uav/path/tower-7 created\n"
    assert waypost("apply", "-f", str(tmp_path))[1].split()[-1] == "unchanged"
    (tmp_path / "tower.yaml").write_text(TOWER.replace("max: 2", "max: 3").replace("north", "south"))
    code, out, _ = waypost("diff", "-f", str(tmp_path), "--exit-code")
    assert code == 1
    assert [line for line in out.splitlines() if line[:1] in "+-"] == [
        "--- now: projects/uav/applications/path/positions/tower-7",
        f"+++ {tmp_path}/tower.yaml:1",
        "-  site: north",
        "+  site: south",
        "-    max: 2",
        "+    max: 3",
    ]
    assert waypost("apply", "-f", str(tmp_path / "tower.yaml"))[1] == "position uav/path/tower-7 updated\n"
    assert list(platform.calls[-1][1].update_mask.paths) == ["labels", "spec"]
    assert waypost("diff", "-f", str(tmp_path), "--exit-code") == (0, "", "nothing would change\n")


def test_nothing_is_written_where_one_document_is_bad(platform: FakePlatform, waypost: Run, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("kind: Project\nname: uav\n")
    (tmp_path / "b.yaml").write_text("kind: Project\nname: UAV\n")
    code, _, err = waypost("apply", "-f", str(tmp_path))
    assert (code, platform.calls) == (2, [])
    assert f"{tmp_path}/b.yaml:2: 'UAV' cannot name one of projects" in err


def test_the_export_of_a_platform_applied_to_it_changes_nothing(
    platform: FakePlatform, waypost: Run, tmp_path: Path
) -> None:
    for document in specs.load(f"{TOWER}---\nkind: Project\nname: uav\ndescription: 'a: b'\n", "a.yaml"):
        platform.put(document.resource)
    imported = platform.put(specs.BY_NOUN["Application"].new("projects/uav/applications/path"))
    imported.subscription = "subscriptions/local"
    platform.put(EDGE_SERVER.new("edgeServers/edge-1"))
    _, exported, _ = waypost("export")
    assert exported.count("kind:") == 3
    (tmp_path / "all.yaml").write_text(exported)
    assert {line.split()[-1] for line in waypost("apply", "-f", str(tmp_path))[1].splitlines()} == {"unchanged"}
    assert "kind: Position" in waypost("export", "uav")[1]
    assert waypost("export", "edgeServers/edge-1")[1] == "kind: EdgeServer\nname: edge-1\n"
    assert waypost("export", "uav/path/tower-9")[0] == 3
