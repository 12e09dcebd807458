"""Back-off, layout, locks, keys, control groups, settings."""

import asyncio
import errno
import fcntl
import os
import stat
import threading
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.app import main
from edge_agent.backoff import LONGEST_S, Restarts, delay_s
from edge_agent.box.stop import stop_all
from edge_agent.drivers import cgroups
from edge_agent.drivers.base import Limits
from edge_agent.identity.enrol import api_address, read_token
from edge_agent.identity.keys import ensure_keys
from edge_agent.machine.layout import Layout, layout_of
from edge_agent.machine.lock import take_lock
from edge_agent.settings import ENV_PREFIX, AgentSettings
from mesh.fields import declared
from mesh.files import SOCKET_PATH_BYTES_MAX
from mesh.locks import holder
from mesh.restarts import AT_ONCE, EVERY_S
from mesh.settings import load
from mesh.tokens import Verifier, mint
from waypost.errors import Invalid, Precondition


def test_waits_double_up_to_a_minute() -> None:
    assert [delay_s(n) for n in range(9)] == [0, 1, 2, 4, 8, 16, 32, 60, 60]


@given(st.lists(st.booleans(), max_size=40))
def test_starts_that_come_to_nothing_wait_ever_longer_and_what_was_well_is_back_soon(well: list[bool]) -> None:
    restarts, now_s = Restarts(), 0.0
    for number, was_well in enumerate(well, start=1):
        restarts = restarts.after_end(number, was_well=was_well, now_s=now_s)
        assert restarts.after_end(number, was_well=False, now_s=now_s + 5) is restarts
        assert now_s + delay_s(restarts.failures) <= restarts.due_s <= now_s + LONGEST_S
        if was_well:
            assert restarts.due_s - now_s <= EVERY_S + 0.001
            assert number > AT_ONCE or restarts.due_s == now_s
        now_s = restarts.due_s


@pytest.mark.parametrize("depth", [1, 30])
def test_sockets_are_short_enough_wherever_the_data_is(tmp_path: Path, depth: int) -> None:
    data_dir = tmp_path.joinpath(*["directory"] * depth)
    layout = layout_of(data_dir, None)
    paths = layout.position("7f4c2c1e-5a51-4b77-9a3c-0d7a5f1f0001", "7f4c2c1e")
    for address in (paths.host_address("r-abcdef"), paths.monitor_address):
        assert len(os.fsencode(address.removeprefix("unix:"))) <= SOCKET_PATH_BYTES_MAX
    assert layout == layout_of(data_dir, None)


def test_what_somebody_else_has_put_where_the_sockets_go_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    target, data_dir = tmp_path / "target", tmp_path.joinpath(*["directory"] * 30)
    target.mkdir()
    target.chmod(0o755)
    layout_of(data_dir, None).runtime_dir.symlink_to(target)
    with pytest.raises(Precondition, match=f"{tmp_path}/waypost-[0-9a-f]{{8}} is a link"):
        layout_of(data_dir, None).create()
    with pytest.raises(Precondition, match=f"{tmp_path}/waypost-[0-9a-f]{{8}} is a link"):
        layout_of(tmp_path / "short", layout_of(data_dir, None).runtime_dir).create()
    assert stat.S_IMODE(target.stat().st_mode) == 0o755


def test_a_directory_for_sockets_is_told_as_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "linked").symlink_to("run")
    for path in ("run/a", "./run/b/../a", "linked/a", "run/a/"):
        assert layout_of(tmp_path, Path(path)).runtime_dir == tmp_path.resolve() / "run" / "a"


def test_one_agent_holds_a_directory(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert holder(path) is None
    descriptor = take_lock(path)
    assert holder(path) == os.getpid()
    with pytest.raises(Precondition, match=f"is used by another agent \\(pid {os.getpid()}\\)"):
        take_lock(path)
    os.close(descriptor)
    assert holder(path) is None


def test_a_lock_is_taken_on_a_disk_that_is_full(tmp_path: Path) -> None:
    """What a file lets go of may be lost to it: ext4 gives it back only when its journal is written."""
    path, shorten = tmp_path / "lock", os.ftruncate
    path.write_text("4194304\n")

    def lose(descriptor: int, length: int) -> None:
        if length == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        shorten(descriptor, length)

    with patch.object(os, "ftruncate", lose):
        descriptor = take_lock(path)
    assert path.read_text() == f"{os.getpid()}\n"
    os.close(descriptor)


def test_an_agent_that_starts_while_somebody_looks_whether_one_runs_starts(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with open(path, "w") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        end = threading.Timer(0.05, fcntl.flock, (looking, fcntl.LOCK_UN))
        end.start()
        descriptor = take_lock(path)
        end.join()
    assert holder(path) == os.getpid()
    os.close(descriptor)


def test_keys_are_made_once_and_belong_together(tmp_path: Path) -> None:
    layout = Layout(tmp_path, tmp_path / "run")
    layout.create()
    paths = layout.position("uid", "short")
    ensure_keys(paths)
    key = paths.signing_key.read_bytes()
    assert stat.S_IMODE(paths.signing_key.stat().st_mode) == 0o600
    assert stat.S_IMODE(paths.home.stat().st_mode) == 0o700
    paths.jwks.unlink()
    ensure_keys(paths)
    assert paths.signing_key.read_bytes() == key
    token = mint(key, audience="uid", subject="agent", client="agent", now=0)
    assert Verifier(paths.jwks.read_text(), "uid").verify(f"Bearer {token}", 1).subject == "agent"


def test_limits_are_written_for_version_1(tmp_path: Path) -> None:
    for controller in ("cpu", "memory"):
        (tmp_path / controller / "ours").mkdir(parents=True)
    own = tmp_path / "own"
    own.write_text("4:memory:/ours\n1:cpu,cpuacct:/ours\n0::/\n")
    groups = cgroups.find(tmp_path, own)
    assert groups is not None
    procs = groups.prepare("waypost-x", Limits(cpu_millis=500, memory_bytes=1 << 20))
    assert procs == [tmp_path / c / "ours" / "waypost-x" / "cgroup.procs" for c in ("cpu", "memory")]
    written = {path.name: path.read_text() for path in tmp_path.glob("*/ours/waypost-x/*")}
    assert written == {
        "cpu.cfs_period_us": "100000",
        "cpu.cfs_quota_us": "50000",
        "memory.limit_in_bytes": str(1 << 20),
    }


def test_limits_are_written_for_version_2(tmp_path: Path) -> None:
    (tmp_path / "system.slice" / "agent.service").mkdir(parents=True)
    own = tmp_path / "own"
    own.write_text("0::/system.slice/agent.service\n")
    assert cgroups.find(tmp_path, own) is None
    (tmp_path / "system.slice" / "cgroup.subtree_control").write_text("cpu memory pids\n")
    groups = cgroups.find(tmp_path, own)
    assert groups is not None
    (procs,) = groups.prepare("waypost-x", Limits(memory_bytes=1 << 20))
    assert procs == tmp_path / "system.slice" / "waypost-x" / "cgroup.procs"
    assert (procs.parent / "memory.max").read_text() == str(1 << 20)
    assert (procs.parent / "cpu.max").read_text() == "max 100000"


def test_a_machine_without_control_groups_has_none(tmp_path: Path) -> None:
    assert cgroups.find(tmp_path, tmp_path / "own") is None


def settings(*arguments: str) -> AgentSettings:
    return load(AgentSettings, arguments, prog="waypost agent run", env_prefix=ENV_PREFIX)


def test_ports_are_a_range() -> None:
    assert settings("--port-range", "7700-7702").ports == range(7700, 7703)
    for wrong in ("7700", "7702-7700", "0-5", "a-b", "7700-70000"):
        with pytest.raises(Invalid, match="7700-7799"):
            settings("--port-range", wrong)


def test_monitors_can_only_be_told_an_address_that_they_find_again() -> None:
    assert settings("--link-listen", "0.0.0.0:7690", "--advertise-address", "tower-7.example").link_listen
    for wrong, why in (
        ("0.0.0.0:7690", "advertise-address"),
        ("10.0.0.7:0", "choose a port"),
        ("7690", "not an address"),
    ):
        with pytest.raises(Invalid, match=why):
            settings("--link-listen", wrong)


def test_the_api_is_one_port_below_the_link_unless_it_is_named() -> None:
    assert api_address(settings("--control-plane", "10.0.0.1:7601")) == "10.0.0.1:7600"
    assert api_address(settings("--control-plane", "[::1]:7601")) == "[::1]:7600"
    assert api_address(settings("--control-plane", "10.0.0.1:7601", "--api", "cp:1")) == "cp:1"
    with pytest.raises(Precondition, match="nobody says where to enrol"):
        api_address(settings())


def test_a_join_token_is_asked_for_where_it_is_missing(tmp_path: Path) -> None:
    with pytest.raises(Precondition, match="no identity yet"):
        read_token(settings())
    with pytest.raises(Precondition, match="cannot be read"):
        read_token(settings("--join-token", str(tmp_path / "none")))
    path = tmp_path / "token"
    path.write_text("hello\n")
    with pytest.raises(Precondition, match="holds no join token"):
        read_token(settings("--join-token", str(path)))
    path.write_text("wp1_random.pin\n")
    assert read_token(settings("--join-token", str(path))) == "wp1_random.pin"


def test_wrong_settings_end_with_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--drain-grace-s", "-1"]) == 1
    assert "error: --drain-grace-s" in capsys.readouterr().err


def test_stop_all_of_a_directory_that_does_not_exist_says_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(stop_all(settings("--data-dir", str(tmp_path / "none")), asyncio.Event()))
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "none").exists()


def test_help_explains_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["run", "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert all(f"--{name.replace('_', '-')}" in shown for name in declared(AgentSettings))
