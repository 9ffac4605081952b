"""A process that is talked to in lines of JSON."""

import json
import select
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class ProcessError(Exception):
    """The process ended, said something else, or said nothing in time."""


class LineProcess:
    """Writes lines to a process and reads its answers. What it complains of goes to standard error."""

    def __init__(
        self, command: list[str], folder: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        self._process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self._name = Path(command[3] if command[0] == "taskset" else command[0]).name
        self._rest = b""

    @property
    def pid(self) -> int:
        """The process's id; `taskset` becomes what it starts."""
        return self._process.pid

    def write(self, line: str) -> None:
        """Send a line.

        Raises:
            ProcessError: the process has ended.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode() + b"\n")
        except BrokenPipeError as error:
            raise ProcessError(f"{self._name} has ended with {self._process.wait()}") from error

    def read(self, seconds: float) -> dict[str, Any]:
        """Return the next answer.

        Raises:
            ProcessError: none came within `seconds`, or the process has ended.
        """
        assert self._process.stdout is not None
        while b"\n" not in self._rest:
            if not select.select([self._process.stdout], [], [], seconds)[0]:
                raise ProcessError(f"{self._name} said nothing for {seconds} s")
            read = self._process.stdout.read(65536)
            if not read:
                raise ProcessError(f"{self._name} has ended with {self._process.wait()}")
            self._rest += read
        line, _, self._rest = self._rest.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, line: str, seconds: float = 60) -> dict[str, Any]:
        """Send a line and return the answer."""
        self.write(line)
        return self.read(seconds)

    def close(self) -> None:
        """End the process: it does so when its standard input does."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
