"""`requirements.txt` of a package, held against what is installed."""

from importlib import metadata
from pathlib import Path

import pytest

from inference_host.model.requirements import check
from waypost.errors import Precondition

NUMPY = metadata.version("numpy")


def refusal(directory: Path, text: str) -> Precondition:
    (directory / "requirements.txt").write_text(text)
    with pytest.raises(Precondition) as refused:
        check(directory)
    return refused.value


def test_a_package_without_one_needs_nothing(tmp_path: Path) -> None:
    check(tmp_path)


def test_what_is_here_is_not_asked_for(tmp_path: Path) -> None:
    lines = [
        "# what the template imports",
        "",
        f"numpy>=1.20,=={NUMPY}  # pinned",
        "NumPy",
        "no-such-library; python_version < '3'",
        "protobuf ; sys_platform == 'linux'",
    ]
    (tmp_path / "requirements.txt").write_text("\n".join(lines))
    check(tmp_path)


def test_everything_that_is_missing_is_named_at_once_with_the_command_that_installs_it(tmp_path: Path) -> None:
    refused = refusal(tmp_path, "numpy>=99\nno-such-library\nprotobuf\nother-one[fast]~=2.0\n")
    assert refused.reason == "MISSING_LIBRARY"
    assert f"numpy>=99 ({NUMPY} is installed)" in refused.message
    assert "no-such-library (not installed)" in refused.message
    assert "protobuf" not in refused.message
    assert refused.hint == "beside the host: pip install 'numpy>=99' no-such-library 'other-one[fast]~=2.0'"


def test_an_extra_is_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("waypost-platform[host]")
    check(tmp_path)
    refused = refusal(tmp_path, "hypothesis[pandas,zoneinfo]")
    assert "pandas" in refused.message


@pytest.mark.parametrize(
    "line",
    [
        "-r others.txt",
        "--index-url https://example.org",
        "-e .",
        "./wheels/x.whl",
        "numpy >> 2",
        "https://example.org/x",
    ],
)
def test_what_says_where_to_get_things_is_refused(tmp_path: Path, line: str) -> None:
    refused = refusal(tmp_path, f"numpy\n{line}\n")
    assert refused.reason == "BAD_REQUIREMENTS"
    assert "line 2" in refused.message


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, "# long\n" * 20_000).reason == "BAD_REQUIREMENTS"
    (tmp_path / "requirements.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(Precondition):
        check(tmp_path)
