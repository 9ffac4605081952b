"""How verbs ask and answer."""

import contextlib
import os
import pty
import subprocess
import sys
from pathlib import Path

SECRET = "correct horse battery"
ASK = "from app.cli.output import read_secret; print(read_secret('-')[::-1])"


def test_a_password_that_is_typed_is_asked_for_and_not_shown() -> None:
    terminal, keyboard = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", ASK],
        cwd=Path(__file__).parents[2],
        stdin=keyboard,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # without a terminal of its own, so that it asks the one it is given
    )
    assert process.stderr is not None
    asked = os.read(process.stderr.fileno(), 100)
    os.write(terminal, f"{SECRET}\n".encode())
    said, _ = process.communicate(timeout=20)
    os.set_blocking(terminal, False)
    with contextlib.suppress(BlockingIOError):
        assert SECRET.encode() not in os.read(terminal, 1000)
    os.close(terminal)
    os.close(keyboard)

    assert asked == b"Password: "
    assert said.decode().strip() == SECRET[::-1]
