"""`waypost agent install`, with a real pip and a wheel made for it."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edge_agent.box.install import InstallSettings, install
from edge_agent.box.upgrade import CheckSettings, check
from edge_agent.machine.software import INSTALLING, Software
from waypost.errors import Invalid, Precondition, Unavailable

EXTRAS = ("agent", "monitor", "host", "console")


def wheel(directory: Path, version: str) -> None:
    """waypost-platform of that version, which is one module."""
    directory.mkdir()
    about = f"waypost_platform-{version}.dist-info"
    extras = "".join(f"Provides-Extra: {extra}\n" for extra in EXTRAS)
    files = {
        "position_monitor.py": f"print('monitor {version}')\n",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: waypost-platform\nVersion: {version}\n{extras}",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in (*files, f"{about}/RECORD"))
    with zipfile.ZipFile(directory / f"waypost_platform-{version}-py3-none-any.whl", "w") as archive:
        for name, content in {**files, f"{about}/RECORD": record}.items():
            archive.writestr(name, content)


def settings(directory: Path, version: str) -> InstallSettings:
    return InstallSettings(version=version, data_dir=directory / "edge", wheels=directory / "wheels")


def test_a_version_is_installed_from_a_directory_of_wheels_and_the_first_one_is_current(tmp_path: Path) -> None:
    wheel(tmp_path / "wheels", "9.9.9")
    software = Software(tmp_path / "edge" / "software")
    install(settings(tmp_path, "9.9.9"))
    assert software.installed("9.9.9")
    assert software.current.readlink() == Path("9.9.9")
    command = software.command("9.9.9", "position_monitor")
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "monitor 9.9.9\n"
    before = (software.directory / "9.9.9").stat().st_mtime_ns
    install(settings(tmp_path, "9.9.9"))
    assert (software.directory / "9.9.9").stat().st_mtime_ns == before


def test_what_cannot_be_installed_leaves_nothing_and_says_what_pip_said(tmp_path: Path) -> None:
    wheel(tmp_path / "wheels", "9.9.9")
    software = Software(tmp_path / "edge" / "software")
    with pytest.raises(Unavailable, match=r"8\.8\.8 could not be installed: .*waypost-platform") as failed:
        install(settings(tmp_path, "8.8.8"))
    assert failed.value.reason == "INSTALL_FAILED"
    assert list(software.directory.iterdir()) == []


def test_an_installation_that_was_interrupted_is_not_used_and_is_begun_anew(tmp_path: Path) -> None:
    wheel(tmp_path / "wheels", "9.9.9")
    software = Software(tmp_path / "edge" / "software")
    half = software.directory / "9.9.9"
    (half / "bin").mkdir(parents=True)
    (half / "bin" / "python").symlink_to(sys.executable)
    (half / INSTALLING).touch()
    assert not software.installed("9.9.9")
    install(settings(tmp_path, "9.9.9"))
    assert software.installed("9.9.9")


@pytest.mark.parametrize("version", ["", "latest", "../../etc", "1/2"])
def test_what_is_no_version_is_refused(tmp_path: Path, version: str) -> None:
    (tmp_path / "wheels").mkdir()
    with pytest.raises(Invalid, match="no version of the software"):
        install(settings(tmp_path, version))


def test_wheels_are_in_a_directory(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="is no directory"):
        install(settings(tmp_path, "9.9.9"))


def test_a_ledger_that_cannot_be_read_is_told_before_an_upgrade(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check(CheckSettings(data_dir=tmp_path))
    assert "can go on from what is in" in capsys.readouterr().out
    (tmp_path / "ledger").mkdir()
    (tmp_path / "ledger" / "mode.json").write_text(
        '{"format": 9, "sha256": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}\n{}'
    )
    with pytest.raises(Precondition, match="has format 9"):
        check(CheckSettings(data_dir=tmp_path))
