"""The documentation shows commands that exist and recipes that load."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
from ruamel.yaml import YAML

from flyweight.cli import app
from flyweight.recipe import load_recipe, packaged_recipes, parse_recipe, recipe_from_dict

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(page for page in (ROOT / "docs").rglob("*.md") if page.name != "log.md")
COMMANDS = typer.main.get_command(app)


def code_blocks(page: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


def shown_commands() -> list[tuple[str, list[str]]]:
    return [
        (page.name, shlex.split(line, comments=True)[1:])
        for page in PAGES
        for block in code_blocks(page, "sh")
        for line in block.replace("\\\n", " ").splitlines()
        if line.startswith("flyweight ")
    ]


def name_of(shown: tuple[str, list[str]]) -> str:
    return f"{shown[0]}: {' '.join(shown[1])}"


@pytest.mark.parametrize("shown", shown_commands(), ids=name_of)
def test_every_command_that_is_shown_parses(shown):
    command, words = COMMANDS, list(shown[1])
    while subcommands(command):
        command = subcommands(command)[words.pop(0)]
    given = command.make_context("shown", words).params
    if given.get("recipe") in packaged_recipes():
        load_recipe(given["recipe"], given["overrides"] or [])


def subcommands(command: Any) -> dict[str, Any]:
    return getattr(command, "commands", {})


def every_command(group: Any, prefix: str = "flyweight") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, command in subcommands(group).items():
        full = f"{prefix} {name}"
        found |= every_command(command, full) if subcommands(command) else {full: command}
    return found


def test_the_page_of_commands_is_complete():
    text = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    sections = {
        title.split("`")[1]: body for title, body in re.findall(r"^## (.*)\n((?:(?!^## ).*\n?)*)", text, re.M)
    }
    for name, command in every_command(COMMANDS).items():
        title = [title for title in sections if title == name or title.startswith(name + " ")]
        assert len(title) == 1, name
        wanted = {
            option for parameter in command.params for option in parameter.opts if option.startswith("--")
        }
        shown = set(re.findall(r"--[a-z][a-z-]*", title[0] + sections[title[0]]))
        assert shown == wanted - {"--help"}, name
    assert len(sections) == len(every_command(COMMANDS))


def test_recipes_in_the_tutorials_load():
    texts = [text for page in PAGES for text in code_blocks(page, "yaml") if text.startswith("name:")]
    assert texts
    for text in texts:
        assert parse_recipe(text).notes == ()


def test_parts_of_a_training_section_fit_into_a_recipe():
    others = ("name:", "sources:", "tokenizer:", "corpus:", "tunnel:", "evaluation:")
    parts = [text for page in PAGES for text in code_blocks(page, "yaml") if not text.startswith(others)]
    assert len(parts) >= 3
    for part in parts:
        values = YAML(typ="safe", pure=True).load(part)
        recipe = load_recipe("gpt-x2-125m").to_dict()
        recipe["training"] |= values
        weights = recipe["training"]["mixture"][0]["weights"]
        recipe["sources"] = {name: {"kind": "files", "path": name} for name in weights}
        assert recipe_from_dict(recipe).notes == ()


def test_shown_sources_fit_into_a_recipe():
    parts = [
        text
        for page in PAGES
        for text in code_blocks(page, "yaml")
        if text.startswith(("sources:", "tokenizer:", "corpus:", "tunnel:", "evaluation:"))
    ]
    assert len(parts) >= 5
    for part in parts:
        shown = YAML(typ="safe", pure=True).load(part)
        recipe = load_recipe("gpt-x2-125m").to_dict() | shown
        weights = {name: 1 / len(recipe["sources"]) for name in recipe["sources"]}
        recipe["training"]["mixture"] = [{"at": 0, "weights": weights}]
        assert recipe_from_dict(recipe).notes == ()
