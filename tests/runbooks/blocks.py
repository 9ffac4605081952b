"""The blocks of the pages that an operator reads."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]
PAGES = tuple(
    str(page.relative_to(ROOT)) for page in [ROOT / "README.md", *sorted((ROOT / "docs/operations").glob("*.md"))]
)
COMMANDS, SCRIPT = "console", "sh"  # what the fence says of lines to be typed, and of a file to be run
_LEAD = re.compile(r"\*\*([A-Z][^*]+?)\.?\*\*")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    `section` is the heading or the bold words that begin a paragraph, whichever stands nearer above the block, without
    the full stop: "Steps: add a user". `line` is where its fence opens, `language` what stands behind the fence.
    """

    page: str
    line: int
    section: str
    language: str
    text: str

    @property
    def executable(self) -> bool:
        """Whether somebody runs it."""
        return self.language in (COMMANDS, SCRIPT)

    @property
    def commands(self) -> list[str]:
        """Return what is to be typed, in its order; a script counts as one command.

        Raises:
            ValueError: A line of the block is no command. What a command prints does not belong into its block.

        """
        if self.language == SCRIPT:
            return [self.text]
        found: list[str] = []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                found.append(line.removeprefix("$ "))
            elif found and found[-1].endswith("\\"):
                found[-1] += "\n" + line
            else:
                raise ValueError(f"{self.page}:{self.line}: no command, nor the rest of one: {line!r}")
        return found

    def __str__(self) -> str:
        return f"{self.page}:{self.line} ({self.section})"


@cache
def blocks(page: str) -> tuple[Block, ...]:
    """Return all fenced blocks of a page, which is named by its path in the checkout."""
    section, found = "", []
    tokens = MarkdownIt().parse((ROOT / page).read_text())
    for before, token in zip([None, *tokens], tokens, strict=False):
        if token.type == "inline":
            lead = _LEAD.match(token.content)
            if before is not None and before.type == "heading_open":
                section = token.content
            elif lead:
                section = lead[1]
        elif token.type == "fence":
            line = token.map[0] + 1 if token.map else 0
            found.append(Block(page, line, section, token.info.strip(), token.content))
    return tuple(found)


def executable(page: str, *sections: str) -> list[Block]:
    """Return the blocks that somebody runs: of the sections that are named, or of the whole page.

    Raises:
        LookupError: The page has no such section, or nothing is to be run there.

    """
    chosen = [block for block in blocks(page) if block.executable and (not sections or block.section in sections)]
    missing = [section for section in sections if section not in {block.section for block in chosen}]
    if missing or not chosen:
        known = ", ".join(sorted({repr(block.section) for block in blocks(page) if block.executable}))
        raise LookupError(f"{page} has no commands in {missing or 'it'}; sections with commands: {known or 'none'}")
    return chosen
