"""Subscriptions followed, versions imported, nothing missed and nothing doubled."""

import asyncio
import os
import random
from pathlib import Path

from control_plane.registry.follower import CURSOR
from control_plane.registry.importer import Importer
from control_plane.sources.fake import FakePlatform
from control_plane.store import Delete
from control_plane.store.resources import APPLICATION, MODEL_VERSION, PROJECT, SUBSCRIPTION
from control_plane.store.resources import MODEL as MODEL_KIND
from mesh.packages import version_digest
from tests.unit.control_plane.registry.world import (
    APPLICATION_NAME,
    LAB,
    MODEL,
    PROJECT_NAME,
    SIGNATURE,
    World,
    subscribed,
    version_name,
    world,
)
from tests.unit.control_plane.scenario import scenario, until
from waypost.api.control.v1.condition_pb2 import CONDITION_STATUS_TRUE, Condition
from waypost.api.control.v1.model_pb2 import MODEL_VERSION_STATE_IMPORTING, Artifact, Model, ModelVersion
from waypost.api.control.v1.subscription_pb2 import SubscriptionStatus
from waypost.errors import Invalid, Unavailable


def platform(*versions: str) -> FakePlatform:
    """One application and model, and versions of it; without any at sequence 2."""
    lab = FakePlatform("lab")
    lab.publish_application("path", display_name="Path prediction")
    lab.publish_model("path", "tcn", description="temporal convolution")
    for version in versions:
        publish(lab, version)
    return lab


def publish(lab: FakePlatform, version: str, content: bytes = b"good") -> None:
    files = {"model.onnx": content, "samples.json": b"{}"}
    lab.publish_version("path", "tcn", version, files, metrics={"mae": 0.5})


async def condition(here: World, version: str, type_: str) -> Condition:
    found = await here.version(version)
    assert found is not None
    return next(judged for judged in found.conditions if judged.type == type_)


@scenario
async def test_a_published_version_becomes_available(tmp_path: Path) -> None:
    lab = platform("1")
    async with subscribed(tmp_path, lab) as here:
        async with here.running():
            await here.becomes("1", "AVAILABLE")
        version = await here.version("1")
        assert version is not None
        assert version.signature == SIGNATURE
        assert version.digest == version_digest(version.artifacts)
        assert version.idempotent
        assert version.metrics == {"mae": 0.5}
        assert {(judged.type, judged.status) for judged in version.conditions} == {
            ("ArtifactsStored", CONDITION_STATUS_TRUE),
            ("Checked", CONDITION_STATUS_TRUE),
        }
        assert here.check.checked == [["manifest.json", "model.onnx", "samples.json"]]
        assert os.listdir(here.packages) == []


@scenario
async def test_owners_are_made_and_carry_the_subscription(tmp_path: Path) -> None:
    async with subscribed(tmp_path, platform()) as here:
        async with here.running():
            await here.heard(2)
        assert await here.resources.find(PROJECT, PROJECT_NAME)
        application = (await here.resources.get(APPLICATION, APPLICATION_NAME)).message
        model = (await here.resources.get(MODEL_KIND, MODEL)).message
        assert application.subscription == model.subscription == LAB
        assert application.display_name == "Path prediction"
        assert model.description == "temporal convolution"


@scenario
async def test_a_change_at_the_source_changes_only_what_is_the_sources(tmp_path: Path) -> None:
    lab = platform()
    async with subscribed(tmp_path, lab) as here:
        async with here.running():
            await here.heard(2)
            before = (await here.resources.get(MODEL_KIND, MODEL)).message
            before.labels["tier"] = "gold"
            await here.stores.records.commit([MODEL_KIND.encode(MODEL, before)])
            lab.publish_model("path", "tcn", description="wider")
            await here.heard(3)
        after = (await here.resources.get(MODEL_KIND, MODEL)).message
        assert (after.description, dict(after.labels), after.uid) == ("wider", {"tier": "gold"}, before.uid)


@scenario
async def test_a_death_after_any_commit_misses_and_doubles_nothing(tmp_path: Path) -> None:
    lab = platform()
    for number in range(6):
        publish(lab, str(number), b"good %d" % number)
    async with subscribed(tmp_path, lab) as here:
        deaths = 0
        while not all([await here.state(str(number)) == "AVAILABLE" for number in range(6)]):
            begun = await here.stores.records.revision()
            async with here.running():
                await until(lambda begun=begun: _is_further(here, begun))
            deaths += 1
            if deaths == 5:
                lab.withdraw_version("path", "tcn", "0")
                lab.publish_version("path", "tcn", "0", {"model.onnx": b"good 0", "samples.json": b"{}"})
        assert deaths > 5
        assert len([version async for version in here.resources.all(MODEL_VERSION)]) == 6
        async with here.running():
            await here.heard(lab.sequence)
        assert (await here.reasons()).count("VERSION_IMPORTED") <= 7


async def _is_further(here: World, revision: int) -> bool:
    return await here.stores.records.revision() > revision


@scenario
async def test_a_restart_goes_on_from_the_cursor(tmp_path: Path) -> None:
    lab = platform("1")
    async with subscribed(tmp_path, lab) as here:
        async with here.running():
            await here.becomes("1", "AVAILABLE")
        known = await here.stores.records.revision()
        publish(lab, "2", b"other")
        async with here.running():
            await here.becomes("2", "AVAILABLE")
        changes = await here.stores.records.changes(known)
        assert {record.name for record in changes.records if record.kind != CURSOR} == {version_name("2")}


@scenario
async def test_a_log_that_no_longer_reaches_back_is_read_from_its_snapshot(tmp_path: Path) -> None:
    lab = platform("1")
    publish(lab, "2", b"other")
    async with subscribed(tmp_path, lab) as here:
        async with here.running():
            await here.becomes("2", "AVAILABLE")
        lab.withdraw_version("path", "tcn", "1")
        publish(lab, "3", b"third")
        lab.forget_log()
        async with here.running():
            await here.becomes("3", "AVAILABLE")
            await here.heard(lab.sequence)
        assert [await here.state(version) for version in "123"] == ["WITHDRAWN", "AVAILABLE", "AVAILABLE"]


@scenario
async def test_withdrawing_and_publishing_again(tmp_path: Path) -> None:
    lab = platform("1")
    async with subscribed(tmp_path, lab) as here:
        async with here.running():
            await here.becomes("1", "AVAILABLE")
            lab.withdraw_version("path", "tcn", "1")
            await here.becomes("1", "WITHDRAWN")
            publish(lab, "1")
            await here.becomes("1", "AVAILABLE")
            lab.withdraw_application("path")
            await here.becomes("1", "WITHDRAWN")
        assert len(lab.fetched) == 2  # the files were here already


@scenario
async def test_other_bytes_under_a_known_name_are_refused_and_told_once(tmp_path: Path) -> None:
    lab = platform("1")
    async with subscribed(tmp_path, lab) as here:
        async with here.running():
            await here.becomes("1", "AVAILABLE")
            before = await here.version("1")
            publish(lab, "1", b"other bytes")
            await here.heard(4)
        assert await here.version("1") == before
        for _ in range(2):  # a snapshot repeats it, and says nothing new
            lab.publish_application("other")
            lab.forget_log()
            async with here.running():
                await here.heard(lab.sequence)
        assert (await here.reasons()).count("VERSION_CHANGED_AT_SOURCE") == 1


@scenario
async def test_a_model_that_does_not_load_is_invalid_with_the_reason(tmp_path: Path) -> None:
    lab = platform()
    publish(lab, "1", b"broken")
    async with subscribed(tmp_path, lab) as here:
        async with here.running():
            await here.becomes("1", "INVALID")
            failed = await condition(here, "1", "Checked")
            assert (failed.reason, failed.hint) == ("LOAD_FAILED", "export it again")
            assert (await condition(here, "1", "ArtifactsStored")).status == CONDITION_STATUS_TRUE
            assert len(here.check.checked) == 1
            publish(lab, "1", b"broken")
            await until(lambda: _checks(here), lambda found: found == 2)  # the source said it again
        assert (await here.reasons())[-1] == "VERSION_INVALID"


async def _checks(here: World) -> int:
    return len(here.check.checked) if await here.state("1") == "INVALID" else 0


@scenario
async def test_wrong_bytes_are_invalid_until_the_source_publishes_again(tmp_path: Path) -> None:
    lab = platform("1")
    async with world(tmp_path) as here:
        lab.garbled = {artifact.digest for artifact in _files(lab)}
        await here.subscribe(lab)
        async with here.running():
            await here.becomes("1", "INVALID")
            assert (await condition(here, "1", "ArtifactsStored")).reason == "DIGEST_MISMATCH"
            assert len(lab.fetched) == 1
            lab.garbled = set()
            publish(lab, "1")
            await here.becomes("1", "AVAILABLE")


def _files(lab: FakePlatform) -> list[Artifact]:
    events = [event.version_published for event in lab.log if event.HasField("version_published")]
    return [file for version in events for file in version.files]


@scenario
async def test_a_fetch_that_breaks_goes_on_where_it_ended(tmp_path: Path) -> None:
    lab = platform()
    publish(lab, "1", b"x" * 5000)
    lab.fetch_breaks_after_bytes = 1000
    async with subscribed(tmp_path, lab) as here:
        async with here.running():
            await here.becomes("1", "AVAILABLE")
        assert [offset for _, offset in lab.fetched] == [0, 1000, 0]


@scenario
async def test_a_check_that_cannot_be_started_is_tried_again(tmp_path: Path) -> None:
    lab = platform("1")
    async with world(tmp_path) as here:
        here.check.raises = Unavailable("CHECK_NOT_STARTED", "no memory for it")
        await here.subscribe(lab)
        async with here.running():
            await until(lambda: _is_waiting(here, "CHECK_NOT_STARTED"))
            assert await here.state("1") == "IMPORTING"
            here.check.raises = None
            await here.becomes("1", "AVAILABLE")


@scenario
async def test_a_version_whose_source_is_not_followed_yet_waits_for_it(tmp_path: Path) -> None:
    artifacts = [Artifact(path="model.onnx", digest="sha256:" + "0" * 64, size_bytes=4)]
    version = ModelVersion(
        name=version_name("1"), subscription=LAB, artifacts=artifacts, state=MODEL_VERSION_STATE_IMPORTING
    )
    async with subscribed(tmp_path, platform()) as here, asyncio.TaskGroup() as tasks:
        await here.stores.records.commit([MODEL_VERSION.encode(version.name, version)])
        importer = Importer(
            here.stores,
            here.spread(),
            lambda subscription: None,
            lambda version: True,
            here.check,
            here.packages,
            rng=random.Random(1),
        )
        importing = tasks.create_task(importer.run())
        await until(lambda: _is_waiting(here, "SOURCE_NOT_FOLLOWED"))
        assert await here.state("1") == "IMPORTING"
        importing.cancel()


@scenario
async def test_a_check_that_fails_as_nobody_foresaw_fails_its_version_alone(tmp_path: Path) -> None:
    lab = platform("1")
    async with world(tmp_path) as here:
        here.check.raises = RecursionError("too deep")
        await here.subscribe(lab)
        async with here.running():
            await here.becomes("1", "INVALID")
            assert (await condition(here, "1", "Checked")).reason == "CHECK_CRASHED"
            here.check.raises = None
            publish(lab, "2", b"other")
            await here.becomes("2", "AVAILABLE")


@scenario
async def test_a_reason_that_no_message_takes_is_told_all_the_same(tmp_path: Path) -> None:
    lab = platform("1")
    async with world(tmp_path) as here:
        here.check.raises = Invalid("TEMPLATE_FAILED", "it says \ud800\0", "\udfff")
        await here.subscribe(lab)
        async with here.running():
            await here.becomes("1", "INVALID")
        found = await condition(here, "1", "Checked")
        assert (found.message, found.hint) == ("it says ��", "�")


@scenario
async def test_what_a_check_left_behind_is_no_obstacle(tmp_path: Path) -> None:
    async with subscribed(tmp_path, platform("1")) as here:
        locked = here.packages / "x" / "locked"
        locked.mkdir(parents=True)
        (locked / "file").write_bytes(b"")
        locked.chmod(0)
        async with here.running():
            await here.becomes("1", "AVAILABLE")
        assert os.listdir(here.packages) == []


async def _is_waiting(here: World, reason: str) -> bool:
    found = await here.version("1")
    return found is not None and reason in [judged.reason for judged in found.conditions]


@scenario
async def test_what_somebody_else_made_is_left_alone(tmp_path: Path) -> None:
    lab = platform("1")
    async with world(tmp_path) as here:
        theirs = Model(name=MODEL, uid="theirs", description="by hand")
        await here.stores.records.commit([MODEL_KIND.encode(MODEL, theirs)])
        await here.subscribe(lab)
        async with here.running():
            await here.heard(3)
        assert (await here.resources.get(MODEL_KIND, MODEL)).message.description == "by hand"
        assert await here.version("1") is None
        assert "NAME_TAKEN" in await here.reasons()


@scenario
async def test_a_new_subscription_takes_over_what_a_deleted_one_left(tmp_path: Path) -> None:
    lab = platform("1")
    async with subscribed(tmp_path, lab) as here:
        async with here.running():
            await here.becomes("1", "AVAILABLE")
            await here.stores.records.commit([Delete(LAB)])
            await here.subscribe(lab, "subscriptions/again")
            await here.heard(3, "subscriptions/again")
        version = await here.version("1")
        assert version is not None
        assert version.subscription == "subscriptions/again"
        assert await here.state("1") == "AVAILABLE"


@scenario
async def test_a_deleted_subscription_is_followed_no_more_and_its_cursor_goes(tmp_path: Path) -> None:
    lab = platform()
    async with subscribed(tmp_path, lab) as here:
        async with here.running():
            await here.heard(2)
            await here.stores.records.commit([Delete(LAB)])
            await until(lambda: _cursors(here), lambda found: found == 0)
            publish(lab, "1")
        assert await here.version("1") is None
        assert await here.status() == SubscriptionStatus()


async def _cursors(here: World) -> int:
    return len((await here.stores.records.scan("", kind=CURSOR)).records)


@scenario
async def test_a_source_that_is_away_says_so_in_the_subscription(tmp_path: Path) -> None:
    lab = platform()
    lab.away = True
    async with subscribed(tmp_path, lab) as here:
        async with here.running():
            await until(lambda: _connected(here), lambda found: found == "SOURCE_AWAY")
            lab.away = False
            await until(lambda: _connected(here), lambda found: found == "")
            lab.break_streams()
            await here.heard(2)
        status = await here.status()
        assert (status.source, status.sequence) == ("lab", 2)


async def _connected(here: World) -> str:
    """The reason why not; empty where it is."""
    conditions = (await here.status()).conditions
    return conditions[0].reason if conditions else "NOT_KNOWN"


@scenario
async def test_nonsense_from_the_source_does_not_stop_what_follows(tmp_path: Path) -> None:
    lab = platform()
    lab.publish_version("path", "tcn", "../../etc", {"model.onnx": b"x"})
    lab.publish_version("path", "tcn", "odd", {"../model.onnx": b"x"})
    lab.publish_version("path", "tcn", "alien", {"model.onnx": b"x"}, framework="tensorflow")
    publish(lab, "1")
    async with subscribed(tmp_path, lab) as here:
        async with here.running():
            await here.becomes("1", "AVAILABLE")
        assert "SOURCE_EVENT_REFUSED" in await here.reasons()
        assert [await here.state("odd"), await here.state("alien")] == ["INVALID", "INVALID"]
        assert (await condition(here, "odd", "ArtifactsStored")).reason == "BAD_PACKAGE"


@scenario
async def test_a_version_made_by_hand_takes_the_same_way(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        lab = platform()
        publish(lab, "uploaded")
        files = _files(lab)
        for file in files:
            await here.artifacts.fetch(file.digest, file.size_bytes, lambda offset, d=file.digest: lab.fetch(d, offset))
        artifacts = [Artifact(path=file.path, digest=file.digest, size_bytes=file.size_bytes) for file in files]
        absent = [Artifact(path="model.onnx", digest="sha256:" + "0" * 64, size_bytes=1)]
        for version, having in (("1", artifacts), ("2", absent)):
            by_hand = ModelVersion(
                name=version_name(version), uid=version, artifacts=having, state=MODEL_VERSION_STATE_IMPORTING
            )
            await here.stores.records.commit([MODEL_VERSION.encode(by_hand.name, by_hand)])
        async with here.running():
            await here.becomes("1", "AVAILABLE")
            await here.becomes("2", "INVALID")
        assert (await condition(here, "2", "ArtifactsStored")).reason == "ARTIFACT_NOT_FOUND"


@scenario
async def test_the_source_hears_where_its_versions_serve(tmp_path: Path) -> None:
    lab = platform("1")
    async with subscribed(tmp_path, lab) as here:
        async with here.running():
            await here.becomes("1", "AVAILABLE")
            position = await here.serves("1")
            await until(lambda: bool(lab.reports[-1]))
        told = lab.reports[-1][0]
        assert (told.version.model, told.version.version, list(told.positions)) == ("tcn", "1", [position])
        assert lab.reports[0] == []


@scenario
async def test_a_source_that_is_followed_no_more_is_not_left_with_what_it_was_told(tmp_path: Path) -> None:
    lab = platform("1")
    async with subscribed(tmp_path, lab) as here, here.running():
        await here.becomes("1", "AVAILABLE")
        await here.serves("1")
        await until(lambda: bool(lab.reports[-1]))
        await here.stores.records.commit([Delete(LAB)])
        await until(lambda: lab.reports[-1] == [])


@scenario
async def test_code_is_checked_on_copies_and_graphs_on_links(tmp_path: Path) -> None:
    lab = platform("1")
    files = {"model.onnx": b"weights", "template.py": b"class Template: ..."}
    code = {"framework": "template", "template_class": "template:Template", "keeps_state": True}
    lab.publish_version("path", "tcn", "2", files, **code)
    async with subscribed(tmp_path, lab) as here:
        async with here.running():
            await here.becomes("1", "AVAILABLE")
            await here.becomes("2", "AVAILABLE")
        assert sorted(here.check.links) == [1, 2]
        second = await here.version("2")
        assert second is not None
        assert second.keeps_state


@scenario
async def test_a_registry_that_was_interrupted_goes_on_when_it_is_run_again(tmp_path: Path) -> None:
    lab = platform("1")
    async with subscribed(tmp_path, lab) as here:
        registry = here.registry()
        here.check.raises = Unavailable("CHECK_NOT_STARTED", "no memory for it")
        async with here.running(registry):
            await until(lambda: _is_waiting(here, "CHECK_NOT_STARTED"))
        here.check.raises = None
        async with here.running(registry):
            await here.becomes("1", "AVAILABLE")
            publish(lab, "2", b"other")
            await here.becomes("2", "AVAILABLE")


@scenario
async def test_two_followers_of_one_subscription_do_not_double_anything(tmp_path: Path) -> None:
    lab = platform()
    for number in range(5):
        publish(lab, str(number), b"good %d" % number)
    async with subscribed(tmp_path, lab) as here:
        other = World(here.stores, here.artifacts, tmp_path / "other", here.platforms)
        async with here.running(), other.running():
            publish(lab, "last", b"last")
            await here.becomes("last", "AVAILABLE")
            await here.heard(lab.sequence)
        assert len([version async for version in here.resources.all(MODEL_VERSION)]) == 6
        assert await here.resources.find(SUBSCRIPTION, LAB)
