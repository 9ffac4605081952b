"""The operators' pages have one form, and what they name is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OPERATIONS = ROOT / "docs/operations"
RUNBOOKS = sorted(page for page in OPERATIONS.glob("*.md") if page.name != "README.md")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# In this order; a page may have several kinds of steps.
FORM = ["When", "Before you start", "Steps", "How you know that it worked", "How to go back"]
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", RUNBOOKS, ids=name)
def test_a_runbook_says_when_what_before_the_steps_the_proof_and_the_way_back(page: Path) -> None:
    leads = re.findall(r"^\*\*([A-Z][^*:.]+)(?:: [^*]+)?\.\*\*", page.read_text(), re.MULTILINE)
    assert list(dict.fromkeys(leads)) == FORM


def test_every_runbook_is_in_the_table() -> None:
    listed = set(LINK.findall((OPERATIONS / "README.md").read_text()))
    assert listed == {page.name for page in RUNBOOKS}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text()) if "://" not in link]
    assert not [link for link in links if not (page.parent / link).exists()]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_and_make_targets_that_a_page_names_are_there(page: Path) -> None:
    words = re.findall(r"`([^`\n]+)`", page.read_text()) + re.findall(r"^\$ (.+)$", page.read_text(), re.MULTILINE)
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for word in words:
        for target in re.findall(r"\bmake ([a-z-]+)\b", word):
            assert target in targets, word
        for path in re.findall(r"\b(?:roles|playbooks|scripts|services|inventories|molecule)/[\w./-]*\w", word):
            assert path.endswith(("/X", "/mine", "/VERB.yml")) or (ROOT / path).exists(), word
