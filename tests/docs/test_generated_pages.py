"""The generated pages are what the code says now, and they leave nothing out."""

import ast
import re
from collections.abc import Callable
from dataclasses import fields

import pytest

from console import cli
from console.cli import reference, settings_page
from console.cli.settings_page import SECTIONS, Section
from console.local.choices import Choices, Ports
from tests.docs.pages import REFERENCE, rows
from tests.docs.syntax import PACKAGES, files, tree

ANYWHERE = {"--help", "--settings", "--print-settings"}
"""Flags that every component has, said once at the top."""


@pytest.mark.parametrize(("name", "generated"), reference.PAGES.items())
def test_a_generated_page_is_what_the_code_says(name: str, generated: Callable[[], str]) -> None:
    assert (REFERENCE / name).read_text() == generated(), "run: python -m console.cli.reference"


def test_every_settings_class_has_a_section() -> None:
    defined = {
        node.name
        for path in files(*PACKAGES)
        for node in tree(path).body
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base).endswith("Settings") for base in node.bases)
    }
    assert {section.kind().__name__ for section in SECTIONS} == defined


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.command)
def test_a_section_has_the_flags_and_variables_of_its_command(
    section: Section, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main([*section.command.split()[1:], "--help"])
    told = capsys.readouterr().out
    shown = [row for row in rows(settings_page.page()) if row.section == (section.heading,)]
    flags = {name for row in shown for name in row.names if name.startswith("--")}
    assert flags == set(re.findall(r"^  (?:-h, )?(--[a-z-]+)", told, re.MULTILINE)) - ANYWHERE
    assert f"({section.env_prefix}...)" in told
    assert all(row.cells[1].startswith(f"`{section.env_prefix}") for row in shown if row.cells[1])


def test_what_up_keeps_is_what_its_file_holds() -> None:
    ports = {f"ports.{field.name}" for field in fields(Ports)}
    assert set(settings_page.KEPT.values()) == {field.name for field in fields(Choices)} - {"ports"} | ports


def test_every_variable_of_the_command_is_on_the_page() -> None:
    written = {string for path in files("console") for string in re.findall(r'"(WAYPOST_[A-Z_]+[A-Z])"', _text(path))}
    assert written == set(re.findall(r"`(WAYPOST_[A-Z_]+)`", settings_page.COMMANDS))


def _text(path: str) -> str:
    return (REFERENCE.parents[1] / path).read_text()
