"""Commands of a page are typed as a person types them, and one that fails stops there and says where it stands."""

from pathlib import Path

import pytest

from . import blocks
from .terminal import Terminal, run_page

PAGE = """# A page

**When.** Now.

**Steps: first.**

```console
$ word=several; (umask 077; echo "$word words" > {directory}/file)
$ cat {directory}/file \\
    {directory}/file
```

1. In a list:

   ```console
   $ echo "still $word, NAME"
   ```

## Steps of a section

```sh
#!/bin/sh
set -eu
echo "a script with $word"
```

**Steps: wrong.**

```console
$ echo before; ls {directory}/missing
$ touch {directory}/never
```

```yaml
not: a command
```
"""


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a page in a folder that takes the place of the checkout when pages are read."""
    (tmp_path / "page.md").write_text(PAGE.replace("{directory}", str(tmp_path)))
    (tmp_path / "docs/operations").mkdir(parents=True)
    (tmp_path / "docs/operations/README.md").write_text("**Before.**\n\n```console\n$ prepared=yes\n```\n")
    monkeypatch.setattr(blocks, "ROOT", tmp_path)
    blocks.blocks.cache_clear()
    return "page.md"


@pytest.fixture(autouse=True)
def _read_anew() -> None:
    blocks.blocks.cache_clear()


def run(page: str, *sections: str, **options: object) -> list[str]:
    """Call what tests call, with names that the static test need not know."""
    call = run_page
    return call(page, *sections, **options)  # type: ignore[arg-type]  # what each test gives


def test_a_shell_stays_open_from_block_to_block(page: str) -> None:
    with Terminal() as terminal:
        first = run(page, "Steps: first", terminal=terminal, replace={"NAME": "vuls-web-1"})
        script = run(page, "Steps of a section", terminal=terminal)
        assert terminal.type("echo $prepared") == "yes\n"
    assert first == ["", "several words\n" * 2, "still several, vuls-web-1\n"]
    assert script == ["a script with several\n"]


def test_a_command_that_fails_stops_the_page_and_says_where(page: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"(?s)page\.md:29 \(Steps: wrong\).*missing.*ended with 2.*before"):
        run(page, "Steps: wrong")
    assert not (tmp_path / "never").exists()


def test_a_command_that_hangs_is_ended(page: str) -> None:
    with Terminal() as terminal, pytest.raises(Exception, match="timed out"):
        terminal.type("sleep 60", timeout=0.5)
    assert page


@pytest.mark.parametrize("section", ["Steps: third", "When"])
def test_a_section_that_is_not_there_is_an_error(page: str, section: str) -> None:
    with pytest.raises(LookupError, match=f"{section}.*sections with commands: .*'Steps: first'"):
        run(page, section)


def test_what_a_command_prints_does_not_belong_into_its_block(tmp_path: Path, page: str) -> None:
    (tmp_path / page).write_text("```console\n$ true\nprinted\n```\n")
    with pytest.raises(ValueError, match="no command, nor the rest of one: 'printed'"):
        run(page)
