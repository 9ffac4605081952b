"""What the deployment decides: paths, limits, the image. Nothing of it can be chosen by a request."""

import hashlib
import os
import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

MIN_KEY_CHARACTERS = 32
MIB = 1024 * 1024

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Seconds = Annotated[int, Field(ge=1, le=7 * 24 * 3600)]


class ConfigurationError(Exception):
    """The deployment is wrong; the text says what to change."""


class Settings(BaseSettings):
    """Environment variables with the prefix VULS_EXECUTOR_; secrets are files in `secrets_dir`."""

    model_config = SettingsConfigDict(env_prefix="VULS_EXECUTOR_", env_ignore_empty=True, frozen=True)

    socket: Path = Path("/run/vuls-executor/executor.sock")
    state_dir: Path = Path("/var/lib/vuls-executor")
    secrets_dir: Path = Path("/etc/vuls/executor/secrets")
    targets: Path = Path("/etc/vuls/executor/targets.json")
    ssh_key: Path = Path("/etc/vuls/executor/ssh/id_ed25519")
    known_hosts: Path = Path("/etc/vuls/executor/ssh/known_hosts")

    engine: str = "unix:///var/run/docker.sock"
    engine_grace: Seconds = 30
    """How long a job waits for an engine that does not answer, in seconds."""
    image: str = "vuls/vuls:v0.40.1"
    database: Path = Path("/var/lib/vuls-executor/db/vuls.db")
    """A file, or a directory of sources for the demo data; readable by `uid`."""
    scan_network: Name = "bridge"
    container_uid: int | None = None
    stack: Name | None = None
    """Value of the label `vuls-live.stack` on every container, where the deployment is a test stack."""

    max_parallel: Annotated[int, Field(ge=1, le=64)] = 4
    max_queued: Annotated[int, Field(ge=1)] = 1000
    scan_timeout: Seconds = 7200
    report_timeout: Seconds = 900
    memory_mib: Annotated[int, Field(ge=64)] = 1024
    pids: Annotated[int, Field(ge=16)] = 256
    cpus: Annotated[float, Field(gt=0)] = 1.0
    result_limit_mib: Annotated[int, Field(ge=1, le=1024)] = 64
    min_free_mib: Annotated[int, Field(ge=0)] = 256
    """Room that a job must find on the disk of `state_dir`: for results, the job table and what else grows there."""
    job_disk_mib: Annotated[int, Field(ge=1)] | None = None
    """Room that the files of one job may take; four times `result_limit_mib` where it is not set."""
    job_files: Annotated[int, Field(ge=16)] = 1000
    """How many files and directories they may be."""
    abandon_seconds: Annotated[int, Field(ge=5, le=60)] = 60
    """How long a job goes on that nobody asks about: its worker asks several times a second while it lives.

    Not more than 60: by then the next scan of the server may begin, on another scan host perhaps."""
    retention_hours: Annotated[int, Field(ge=1)] = 24
    """How long a finished job and its result can still be fetched; results that no worker could store yet wait here.

    Counted while the executor runs, so that a clock that jumps deletes nothing."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.database.name):
            raise ValueError(f"the database's file name {self.database.name!r} may hold letters, digits and . _ - only")
        for path in (self.state_dir, self.database):
            if not path.is_absolute():
                raise ValueError(f"{path} must be absolute: the engine mounts it")
        own = os.geteuid()
        if self.uid == 0:
            raise ValueError("a container never runs as root: set VULS_EXECUTOR_CONTAINER_UID, or run as another user")
        if own not in (0, self.uid):
            raise ValueError(f"user {own} cannot give files to user {self.uid}: leave VULS_EXECUTOR_CONTAINER_UID out")
        return self

    @property
    def uid(self) -> int:
        """The user id in the containers: this process's own, because only root could give files to another."""
        return os.geteuid() if self.container_uid is None else self.container_uid

    @property
    def instance(self) -> str:
        """Tells this executor's containers from those of another one at the same engine."""
        return hashlib.sha256(str(self.state_dir.resolve()).encode()).hexdigest()[:12]

    @property
    def jobs_dir(self) -> Path:
        """Where each job has its directory."""
        return self.state_dir / "jobs"

    @property
    def result_limit(self) -> int:
        """The greatest size of a result file, in bytes."""
        return self.result_limit_mib * MIB

    @property
    def job_disk(self) -> int:
        """The room that the files of one job may take, in bytes."""
        return 4 * self.result_limit if self.job_disk_mib is None else self.job_disk_mib * MIB

    @property
    def min_free(self) -> int:
        """The room that a job must find, in bytes."""
        return self.min_free_mib * MIB

    def read_api_key(self) -> bytes:
        """Return the key that every request must carry. Raises ConfigurationError."""
        path = self.secrets_dir / "api_key"
        try:
            key = path.read_bytes().strip()
        except OSError as error:
            raise ConfigurationError(f"cannot read the API key {path}: {error.strerror}") from error
        if len(key) < MIN_KEY_CHARACTERS:
            raise ConfigurationError(f"the API key in {path} has fewer than {MIN_KEY_CHARACTERS} characters")
        return key
