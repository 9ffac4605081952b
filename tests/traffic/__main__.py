"""Traffic through a deployed stack: `python -m tests.traffic --help`.

The client that it uses is that of the web application's chaos tests, so it runs in that service's environment
(`scripts/prepare.sh --tests` makes it). File names are relative to where this is called.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SERVICE = ROOT / "services" / "web-app"
PYTHON = ROOT / ".local" / "venvs" / "web-app" / "bin" / "python"
FILES = {"--cafile", "--password-file", "--report", "--ready-file"}


def absolute(arguments: list[str]) -> list[str]:
    """Return the arguments with the names of files made absolute: the program runs in another directory."""
    result: list[str] = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if equals and name in FILES:
            result.append(f"{name}={Path(value).absolute()}")
        elif result and result[-1] in FILES:
            result.append(str(Path(argument).absolute()))
        else:
            result.append(argument)
    return result


def main() -> None:
    """Become the program."""
    if not PYTHON.exists():
        sys.exit(f"{PYTHON} is missing, so there is nothing to run with. Run scripts/prepare.sh --tests first.")
    command = [str(PYTHON), "-m", "tests.traffic", *absolute(sys.argv[1:])]
    os.chdir(SERVICE)
    os.execv(PYTHON, command)


if __name__ == "__main__":
    main()
