"""Types the commands of a page as a person does: one after the other, into one shell, until one fails."""

import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tests import environment

from .blocks import ROOT, SCRIPT, executable

# A person does not have what a test tool hands down.
_FOREIGN = ("MOLECULE_", "PYTEST_")


class Terminal:
    """A shell in the checkout, with the environment that docs/operations/README.md prepares.

    What a command sets, the next one has, as in a terminal that stays open.
    """

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="runbook-")
        self._exported = Path(self._directory.name) / "exported"
        self._environment = environment.of_the_checkout(*_FOREIGN)
        self._exported.touch()
        run_page("docs/operations/README.md", terminal=self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._directory.cleanup()

    def type(self, command: str, timeout: float = 300, *, script: bool = False) -> str:
        """Run a command and return what it printed; fails with all of that when the command does.

        Args:
            command: What is typed; may have several lines.
            timeout: Seconds that it may take.
            script: It is the text of a file that is run.

        """
        text = '. "$1"; set -a; eval "$2"; status=$?; export -p >"$1"; exit "$status"'
        if script:
            text = '. "$1"; exec sh -c "$2"'
        done = subprocess.run(
            ["bash", "-c", text, "bash", str(self._exported), command],
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, f"{command}\nended with {done.returncode}:\n{done.stdout[-8000:]}\n{done.stderr}"
        return done.stdout


def run_page(
    page: str,
    *sections: str,
    terminal: Terminal | None = None,
    replace: Mapping[str, str] | None = None,
    timeout: float = 300,
) -> list[str]:
    """Run the command blocks of a page, or of some of its sections, and return what each command printed.

    Page and sections are literal strings: `test_every_block.py` reads them in the source.

    Args:
        page: Path in the checkout.
        sections: Headings or bold words above the blocks; none: the whole page.
        terminal: Where to type; a fresh one without it.
        replace: What a reader is to put in the place of words of the page (NAME: vuls-target-2).
        timeout: Seconds for each command.

    """
    with ExitStack() as opened:
        shell = terminal or opened.enter_context(Terminal())
        printed = []
        for block in executable(page, *sections):
            for command in block.commands:
                typed = command
                for word, value in (replace or {}).items():
                    typed = typed.replace(word, value)
                try:
                    printed.append(shell.type(typed, timeout, script=block.language == SCRIPT))
                except (AssertionError, subprocess.TimeoutExpired) as error:
                    raise AssertionError(f"{block}: {error}") from error
        return printed
