"""The directory of a job on this host: what its containers mount, and where Vuls writes.

Everything in it belongs to the containers' user, which is this process's own unless it is root (see
`Settings.uid`), and the private key can be read by that user alone.
"""

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from executor import disk, vuls_config
from executor.jobs import Job, Kind
from executor.problems import JobFailed
from executor.settings import Settings
from executor.targets import Target


class Workspace:
    """The paths of one job, below `Settings.jobs_dir`."""

    def __init__(self, settings: Settings, job_id: str) -> None:
        self._settings = settings
        self.path = settings.jobs_dir / job_id
        self.passwd = self.path / "passwd"
        self.scan_config = self.path / "scan"
        self.report_config = self.path / "report"
        self.results = self.path / "results"

    def prepare(self, job: Job, target: Target, given: str | None = None) -> None:
        """Write everything that the job's containers will need, `given` as Vuls's result. Raises JobFailed."""
        settings, name = self._settings, self._settings.database.name
        private = {} if job.kind is Kind.ASSESS else self._private(target)
        try:
            self.wipe()
            disk.check(settings)
            self.path.mkdir(mode=0o700)
            for directory in (self.scan_config, self.report_config, self.results):
                self._own(directory, 0o700, directory=True)
            self._write(self.passwd, vuls_config.passwd(settings.uid).encode(), 0o644)
            for directory, with_key in ((self.scan_config, True), (self.report_config, False)):
                if with_key and not private:
                    continue
                text = vuls_config.config_toml(job.server, target, job.scan_type, name, with_key=with_key)
                self._write(directory / "config.toml", text.encode())
            for file, content in private.items():
                self._write(self.scan_config / file, content)
            if given is not None:
                self._give(job.server, given)
        except OSError as error:
            if disk.is_full(error):
                text = f"The job's files could not be written ({error.strerror}), so the scan was not started."
                raise disk.failure(settings, text) from error
            raise JobFailed(
                "storage", f"The job's directory could not be written ({error.strerror}). Look at {self.path.parent}."
            ) from error

    def _private(self, target: Target) -> dict[str, bytes]:
        """Return what only a program that logs in may read. Raises JobFailed."""
        settings = self._settings
        try:
            key, known_hosts = settings.ssh_key.read_bytes(), settings.known_hosts.read_bytes()
        except OSError as error:
            raise JobFailed(
                "ssh_files_unreadable",
                f"{error.filename} cannot be read ({error.strerror}). Run playbooks/scan_hosts.yml.",
            ) from error
        return {"ssh_config": vuls_config.ssh_config(target).encode(), "known_hosts": known_hosts, "id": key}

    def _give(self, server: str, result: str) -> None:
        """Write a result where and as `vuls scan` would."""
        run = self.results / datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S+0000")
        self._own(run, 0o700, directory=True)
        self._write(run / f"{server}.json", result.encode())

    def forget_key(self) -> None:
        """Remove what only the scan needed."""
        shutil.rmtree(self.scan_config, ignore_errors=True)

    def wipe(self) -> None:
        """Remove everything; links are removed, never followed. Raises OSError."""
        if self.path.exists():
            shutil.rmtree(self.path)

    def _write(self, path: Path, content: bytes, mode: int = 0o600) -> None:
        self._own(path, mode, directory=False)
        path.write_bytes(content)

    def _own(self, path: Path, mode: int, *, directory: bool) -> None:
        path.mkdir(mode=mode) if directory else path.touch(mode=mode, exist_ok=False)
        path.chmod(mode)  # whatever the umask
        if os.geteuid() == 0:
            os.chown(path, self._settings.uid, vuls_config.NOBODY_GID)
