"""What a page names is there: commands and their flags (in hints of the code, too), make targets, files, links."""

import ast
import importlib.util
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from console.cli import COMPONENTS
from console.cli.root import app
from console.cli.settings_page import SECTIONS
from edge_agent.app import JOIN_FLAGS
from mesh.fields import declared
from mesh.settings import flag
from tests.docs.pages import anchors, blocks, prose
from tests.docs.syntax import PACKAGES, ROOT, files, tree

PAGES = sorted(
    path.relative_to(ROOT)
    for path in (
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "protos").glob("*.md"),
        *(ROOT / "sdk").rglob("README.md"),
        *(ROOT / "examples").rglob("README.md"),
    )
)
VERBS_WITHOUT_SETTINGS = ("agent join", "agent stop-all", "host check")
THEIRS = {
    "identity/",
    ".waypost/",
    "open_inference_grpc.proto",
    "google/api/annotations.proto",
    "google/rpc/status.proto",
}
"""Files and folders that users have, or that come from elsewhere."""

COMPONENT_FLAGS = {"--help", "--settings", "--print-settings"}
PLACEHOLDER = re.compile(r"[A-Z][A-Z_]*|…|\.\.\.")


def commands(text: str) -> Iterator[str]:
    """`waypost ...` in code blocks and in backticks, one by one."""
    for block in blocks(text, "sh"):
        yield from re.findall(r"(?<![\w./-])waypost [^|;)&#\n]+", block.replace("\\\n", " "))
    yield from in_backticks("\n".join(prose(text)))


def in_backticks(text: str) -> Iterator[str]:
    for quoted in re.findall(r"`([^`]+)`", text):
        yield from re.findall(r"^(?:[A-Z_]+=\S+ )?(waypost .+)$", " ".join(quoted.split()))


def complaint(command: str) -> str:
    """What is wrong with a command; empty where nothing is."""
    words = shlex.split(command.replace("'", "").replace('"', ""))[1:]
    if words and words[0] in COMPONENTS:
        return _component_complaint(words)
    group: Any = get_command(app)
    known = _options(group)
    while words:
        word = words.pop(0)
        if word.startswith("-"):
            if word.partition("=")[0] not in known:
                return f"no option {word} of `{group.name}`"
            if word in ("-o", "--output", "--context") and words:
                words.pop(0)
        elif hasattr(group, "list_commands") and not PLACEHOLDER.fullmatch(word):
            group = group.get_command(None, word)
            if group is None:
                return f"no command {word}"
            known = known | _options(group)
    return ""


def _options(command: Any) -> frozenset[str]:
    return frozenset(name for option in command.params for name in (*option.opts, *option.secondary_opts)) | {"--help"}


def _component_complaint(words: list[str]) -> str:
    sections = [section for section in SECTIONS if section.command.split()[1] == words[0]]
    verbs = {section.command.split()[2] for section in sections if len(section.command.split()) > 2}
    verbs |= {verb.split()[1] for verb in VERBS_WITHOUT_SETTINGS if verb.startswith(f"{words[0]} ")}
    if len(words) > 1 and verbs and not words[1].startswith("-") and words[1] not in verbs:
        return f"no verb {words[1]} of {words[0]}"
    known = {flag(name) for section in sections for name in declared(section.kind())} | COMPONENT_FLAGS
    known |= JOIN_FLAGS.keys() if words[:2] == ["agent", "join"] else set()
    unknown = [word for word in words if word.startswith("--") and word.replace("--no-", "--") not in known]
    return f"no flag {unknown[0]} of {words[0]}" if unknown else ""


@cache
def make_targets() -> frozenset[str]:
    return frozenset(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_command_on_a_page_is_there(page: Path) -> None:
    found = {command: complaint(command) for command in commands((ROOT / page).read_text())}
    assert {command: why for command, why in found.items() if why} == {}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_make_target_on_a_page_is_there(page: Path) -> None:
    text = (ROOT / page).read_text()
    shown = re.findall(r"^make ([a-z-]+)", "\n".join(blocks(text, "sh")), re.MULTILINE)
    shown += re.findall(r"`make ([a-z-]+)", text)
    assert set(shown) <= make_targets()


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_python_command_on_a_page_is_there(page: Path) -> None:
    text = (ROOT / page).read_text()
    modules = re.findall(r"python -m ([\w.]+)", text)
    scripts = re.findall(r"python ((?:examples|tools)/[\w/]+\.py)", text)
    assert [module for module in modules if importlib.util.find_spec(module) is None] == []
    assert [script for script in scripts if not (ROOT / script).is_file()] == []


@cache
def endings() -> frozenset[str]:
    """Every file and folder of the source tree, by its path and by all that this ends with: `domain/check.py`."""
    tops = (path for path in ROOT.iterdir() if not path.name.startswith(".") or path.name in (".ci", ".importlinter"))
    paths = (path.relative_to(ROOT).parts for top in tops for path in (top, *top.rglob("*")))
    return frozenset("/".join(parts[start:]) for parts in paths for start in range(len(parts)))


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_file_of_ours_on_a_page_is_there(page: Path) -> None:
    quoted = re.findall(r"`([\w./-]+(?:\.py|\.proto|\.binpb|/))`", "\n".join(prose((ROOT / page).read_text())))
    ours = {name.rstrip("/") for name in quoted if not (re.search("[A-Z]{3}", name) or name in THEIRS)}
    assert ours <= endings()


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = "\n".join(prose((ROOT / page).read_text()))
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    assert [target for target in targets if not _leads_somewhere(page, target)] == []


def _leads_somewhere(page: Path, target: str) -> bool:
    if "://" in target:
        return True  # not ours to test
    path, _, anchor = target.partition("#")
    place = (ROOT / page).parent / path if path else ROOT / page
    return place.exists() and (not anchor or anchor in anchors(place.read_text()))


@pytest.mark.parametrize(
    "command",
    [
        "waypost positon get NAME",
        "waypost position gt NAME",
        "waypost deploy VERSION --postion NAME",
        "waypost -o json application tken create NAME",
        "waypost host rn model.onnx",
        "waypost training serve DIR --listn 127.0.0.1:0",
    ],
)
def test_what_is_not_there_is_noticed(command: str) -> None:
    assert complaint(command)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_command_that_a_hint_names_is_there(package: str) -> None:
    found = {command: complaint(command) for path in files(package) for command in _commands_in(path)}
    assert {command: why for command, why in found.items() if why} == {}


def _commands_in(path: str) -> Iterator[str]:
    """In strings of the code, docstrings among them; what an f-string fills in is a placeholder."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
            yield from in_backticks("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from in_backticks(node.value)
