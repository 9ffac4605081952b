"""Every command block of the operators' pages is executed by a test, or excused with a reason."""

import ast
import tomllib
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.scripts.rules import settings

from .blocks import PAGES, ROOT, Block, blocks, executable

EXCUSED = Path(__file__).parent / "not_executed.toml"


class Call(NamedTuple):
    """A call of `run_page` in the source of a test."""

    place: str
    arguments: tuple[str, ...]


@cache
def calls() -> tuple[Call, ...]:
    """Return all calls below tests/."""
    found = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "run_page":
                place = f"{path.relative_to(ROOT)}:{node.lineno}"
                if not all(isinstance(given, ast.Constant) and isinstance(given.value, str) for given in node.args):
                    pytest.fail(f"{place}: page and sections are to be literal strings, or nobody knows what is run")
                found.append(
                    Call(place, tuple(str(given.value) for given in node.args if isinstance(given, ast.Constant)))
                )
    return tuple(found)


def executed() -> dict[Block, str]:
    """Return the blocks that tests execute, and where."""
    return {block: call.place for call in calls() for block in executable(*call.arguments)}


def excused() -> dict[Block, str]:
    """Return the blocks that are left out, and why."""
    found = {}
    for entry in tomllib.loads(EXCUSED.read_text())["left_out"]:
        for block in executable(entry["page"], *entry.get("sections", [])):
            found[block] = entry["reason"]
    return found


def verified_directories() -> set[Path]:
    """Return the folders whose tests the scenarios and scripts/test.sh run."""
    parts = (ROOT / "scripts/test.sh").read_text()
    found = {ROOT / word for word in parts.split() if word.startswith(("tests/", "roles/"))}
    for scenario in (ROOT / "molecule").glob("*/molecule.yml"):
        if f'"molecule-{scenario.parent.name} ' in parts:
            found.add((scenario.parent / settings(scenario)["verifier"]["directory"]).resolve())
    return found


@pytest.mark.parametrize("page", PAGES)
def test_a_fence_says_what_is_in_it(page: str) -> None:
    assert not [str(block) for block in blocks(page) if not block.language], "console, sh, yaml, text, ..."


@pytest.mark.parametrize("page", PAGES)
def test_a_block_of_commands_has_nothing_but_commands(page: str) -> None:
    for block in blocks(page):
        if block.executable:
            assert block.commands, str(block)


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_executed_or_excused(page: str) -> None:
    covered = executed().keys() | excused().keys()
    left = [str(block) for block in blocks(page) if block.executable and block not in covered]
    assert not left, f"no test calls run_page for these, and {EXCUSED.name} does not say why: {left}"


def test_what_is_executed_needs_no_excuse() -> None:
    run, left_out = executed(), excused()
    assert not [f"{block}: {run[block]}" for block in left_out if block in run]


def test_an_excuse_says_why() -> None:
    assert all(len(reason.split()) > 4 for reason in excused().values())


def test_a_test_that_executes_a_page_is_one_that_is_run() -> None:
    run = verified_directories()
    here = ROOT / "tests/runbooks"
    for call in calls():
        folder = (ROOT / call.place).parent
        assert folder == here or any(folder.is_relative_to(one) for one in run), (
            f"{call.place} is in no part of test.sh"
        )
