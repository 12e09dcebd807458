"""What protos/README.md tells people of other languages to run, as far as it needs no compiler of theirs."""

import re
import shlex
from itertools import pairwise
from pathlib import Path

import grpc_tools
import pytest
from google.api import annotations_pb2
from grpc_tools import protoc

from tests.docs.pages import blocks
from tests.docs.syntax import ROOT

README = (ROOT / "protos/README.md").read_text()
COMMANDS = [command for block in blocks(README, "sh") for command in block.replace("\\\n", " ").splitlines() if command]
GOOGLEAPIS = str(Path(annotations_pb2.__file__).parents[2])
WELL_KNOWN = str(Path(grpc_tools.__file__).parent / "_proto")  # any other protoc has them built in
FOREIGN_IMPORTS = {
    "waypost.api.xapp.v1": {"google/api/annotations.proto"},
    "waypost.api.link.v1": {"google/rpc/status.proto"},
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_finds_all_that_it_generates_from(command: str, tmp_path: Path) -> None:
    words = [word.replace("$GOOGLEAPIS", GOOGLEAPIS) for word in shlex.split(command)]
    own = words[words.index("protoc") + 1 :]
    sources = [str(path.relative_to(ROOT)) for word in own if word.endswith(".proto") for path in ROOT.glob(word)]
    roots = [f"-I{GOOGLEAPIS if root == GOOGLEAPIS else ROOT / root}" for root in _after(own, "-I")]
    assert sources
    files = [str(ROOT / source) for source in sources]
    assert protoc.main(["protoc", *roots, f"-I{WELL_KNOWN}", f"--descriptor_set_out={tmp_path / 'out'}", *files]) == 0


def _after(words: list[str], option: str) -> list[str]:
    return [following for word, following in pairwise(words) if word == option]


def test_only_these_packages_import_from_elsewhere() -> None:
    found: dict[str, set[str]] = {}
    for path in (ROOT / "protos/waypost").rglob("*.proto"):
        text = path.read_text()
        package = re.findall(r"^package ([\w.]+);", text, re.MULTILINE)[0]
        imports = set(re.findall(r'^import "(google/(?!protobuf/)[^"]+)"', text, re.MULTILINE))
        if imports:
            found.setdefault(package, set()).update(imports)
    assert found == FOREIGN_IMPORTS
    assert all(f"`{name}`" in README for name in [*found, *(each for imports in found.values() for each in imports)])
