"""What is asked of kernels that know more or less of Landlock, and what an interpreter is given to read."""

import ctypes
import errno
import os
from pathlib import Path

import pytest

from inference_host.check import confine, landlock, mounts, readable
from inference_host.check.landlock import Access, Rule


class Kernel:
    """Answers the system calls as one with this ABI does; 0: as one without Landlock."""

    def __init__(self, abi: int) -> None:
        self.abi = abi
        self.handled = Access(0)
        self.attributes: bytes = b""
        self.granted: list[Access] = []
        self.restricted = False

    def call(self, number: int, *arguments: object) -> int:
        if not self.abi:
            raise OSError(errno.ENOSYS, "Function not implemented")
        match number, arguments:
            case landlock.CREATE_RULESET, (None, *_):
                return self.abi
            case landlock.CREATE_RULESET, (attribute, ctypes.c_size_t() as size, *_):
                self.attributes = bytes(attribute._obj)[: size.value]  # type: ignore[attr-defined]
                self.handled = Access(int.from_bytes(self.attributes[:8], "little"))
                return os.open("/dev/null", os.O_RDONLY)
            case landlock.ADD_RULE, (_, _, rule, _):
                self.granted.append(Access(rule._obj.allowed_access))  # type: ignore[attr-defined]
            case landlock.RESTRICT_SELF, _:
                self.restricted = True
        return 0


@pytest.fixture
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel(request.param)
    monkeypatch.setattr(landlock, "_call", kernel.call)
    return kernel


@pytest.mark.parametrize(
    ("kernel", "bits", "length"),
    [(1, 13, 8), (2, 14, 8), (3, 15, 8), (4, 15, 16), (5, 16, 16), (6, 16, 24), (7, 16, 24), (9, 16, 24)],
    indirect=["kernel"],
)
def test_each_abi_is_asked_for_all_that_it_knows(kernel: Kernel, bits: int, length: int, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    rules = [
        Rule(str(tmp_path), landlock.OWN),
        Rule(str(file), landlock.OWN),
        Rule(str(tmp_path / "no"), landlock.READ),
    ]
    assert landlock.keep_to(rules) == kernel.abi
    assert (int(kernel.handled), len(kernel.attributes)) == ((1 << bits) - 1, length)
    assert any(kernel.attributes[8:16]) == (kernel.abi >= 4)
    assert any(kernel.attributes[16:24]) == (kernel.abi >= 6)
    folder, alone = kernel.granted
    assert folder & ~kernel.handled == Access(0)
    assert alone & ~landlock.OF_FILES == Access(0)
    assert kernel.restricted


@pytest.mark.parametrize(
    ("kernel", "why_mounts", "says"),
    [
        (0, "", "refused Landlock"),
        (2, "no mounts", "(ABI 2) keeps nobody from emptying files, and no mounts"),
        (2, "", ""),
        (3, "no mounts", ""),
    ],
    indirect=["kernel"],
)
def test_what_stays_open_is_told(
    kernel: Kernel, why_mounts: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounts, "read_only_but", lambda folder: why_mounts)
    why = confine.without_files(tmp_path, tmp_path / "scratch")
    assert (says in why) if says else not why
    assert kernel.restricted == (kernel.abi > 0)


@pytest.mark.parametrize("kernel", [7], indirect=True)
def test_a_data_directory_where_everybody_must_read_is_told(
    kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounts, "read_only_but", lambda folder: "")
    installed = tmp_path / "site-packages"
    (installed / "data" / "packages" / "scratch").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(installed))
    monkeypatch.syspath_prepend("the working directory")
    why = confine.without_files(tmp_path, installed / "data" / "packages" / "scratch")
    assert why.endswith(f"lies in {installed}, which every interpreter here needs to read")


def test_of_a_source_tree_what_can_be_imported_is_read(tmp_path: Path) -> None:
    for folder in ("package", ".waypost", "data", "docs"):
        (tmp_path / folder).mkdir()
    for file in ("package/__init__.py", "module.py", "native.so", "admin.token", "data/ca.key"):
        (tmp_path / file).write_bytes(b"")
    given = {rule for rule in readable.for_interpreter([str(tmp_path)]) if rule.path.startswith(str(tmp_path))}
    names = {os.path.relpath(rule.path, tmp_path) for rule in given if rule.access == landlock.READ}
    assert names == {"package", "module.py", "native.so"}
    assert given - {Rule(str(tmp_path / name), landlock.READ) for name in names} == {Rule(str(tmp_path), landlock.LIST)}


def test_where_packages_are_installed_all_is_read(tmp_path: Path) -> None:
    (tmp_path / "x-1.dist-info").mkdir()
    assert Rule(str(tmp_path), landlock.READ) in set(readable.for_interpreter([str(tmp_path)]))


def test_no_place_where_people_write_is_read() -> None:
    given = {rule.path for rule in readable.for_interpreter([])}
    assert given.isdisjoint(
        {"/", "/etc", "/home", "/root", "/tmp", "/var", "/run", "/dev", "/dev/shm", "/proc", "/sys"}
    )
