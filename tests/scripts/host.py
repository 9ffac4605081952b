"""A host in a container, of which a test has one for itself. Needs the engine and the base images."""

import subprocess

from .ansible import ROOT


class Host:
    """One host and the label of its stack, by which scripts/test.sh clears away what a broken-off run left."""

    def __init__(self, label: str, name: str) -> None:
        self.label, self.name = label, name

    def create(self, release: str) -> None:
        """Make it with a release of Debian."""
        self._stack("create", "--hosts", f"{self.name}:{release}")

    def destroy(self) -> None:
        self._stack("destroy")

    def on(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command there; its exit status is the caller's to judge."""
        line = ["docker", "exec", self.name, *command]
        return subprocess.run(line, capture_output=True, text=True, timeout=300, check=False)

    def must(self, *command: str) -> str:
        """Run a command there that has to succeed, and return what it printed."""
        done = self.on(*command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _stack(self, verb: str, *arguments: str) -> None:
        command = [str(ROOT / "scripts/stack.sh"), verb, "--label", self.label, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
