"""How many CPUs are ours: the quota counts, wherever in the hierarchy it is set."""

import os
from pathlib import Path

import pytest

from inference_host.processes.cores import cores

AVAILABLE = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("max 100000", AVAILABLE), ("100000 100000", 1), ("20000 100000", 1), ("garbage", AVAILABLE)],
)
def test_a_quota_of_cgroup_v2_counts(tmp_path: Path, quota: str, expected: int) -> None:
    (tmp_path / "pod/container").mkdir(parents=True)
    (tmp_path / "pod/container/cpu.max").write_text(quota)
    (tmp_path / "membership").write_text("0::/pod/container\n")
    assert cores(tmp_path, tmp_path / "membership") == expected


def test_a_quota_of_a_group_above_counts(tmp_path: Path) -> None:
    (tmp_path / "pod/container").mkdir(parents=True)
    (tmp_path / "pod/container/cpu.max").write_text("max 100000")
    (tmp_path / "pod/cpu.max").write_text("100000 100000")
    (tmp_path / "membership").write_text("0::/pod/container\n")
    assert cores(tmp_path, tmp_path / "membership") == 1


def test_a_quota_of_cgroup_v1_counts(tmp_path: Path) -> None:
    (tmp_path / "cpu/docker/abc").mkdir(parents=True)
    (tmp_path / "cpu/docker/abc/cpu.cfs_quota_us").write_text("50000")
    (tmp_path / "cpu/docker/abc/cpu.cfs_period_us").write_text("100000")
    (tmp_path / "membership").write_text("4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n")
    assert cores(tmp_path, tmp_path / "membership") == 1


def test_without_cgroups_all_cpus_are_ours(tmp_path: Path) -> None:
    assert cores(tmp_path, tmp_path / "nowhere") == AVAILABLE
