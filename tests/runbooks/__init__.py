"""The command blocks of the operators' pages: which there are, which test executes each, and how it does.

A test executes a page, or some sections of it, with `run_page("docs/operations/PAGE.md", "SECTION", ...)`. That call is
also the declaration: `test_every_block.py` finds the calls in the sources of all tests, and fails for a block of a page
that no call names and that `not_executed.toml` does not excuse.
"""

from .terminal import Terminal, run_page

__all__ = ["Terminal", "run_page"]
