"""The Docker engine, in the words of this service. Every method blocks: call it from a thread."""

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from executor import containers, disk, ends, phases
from executor.jobs import Job, Step
from executor.problems import JobFailed
from executor.settings import Settings

CALL_SECONDS = 10
NOT_RUN_EXITS = (126, 127)
"""Exit statuses of the container's init where it could not run the program."""
SIGNAL_EXITS = range(129, 129 + 64)
"""Exit statuses that tell of a signal: 128 + its number."""
_NO_ROOM = os.strerror(errno.ENOSPC).lower()
_NO_ROOM_TEXT = (
    "The disk of the Docker engine on the scan host is full, so it could not run the next program of the scan. Make"
    " room there (look at docker info for its Docker Root Dir, at df -h and df -i), then run the scan again."
)


class EngineUnreachable(Exception):  # noqa: N818
    """The engine does not answer; the same call may work later."""


@dataclass(frozen=True, slots=True)
class Observation:
    """A container at one moment."""

    started: bool
    running: bool
    exit_code: int
    out_of_memory: bool
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """One of this executor's containers."""

    id: str
    job_id: str
    step: Step


class Engine:
    """Makes, watches and removes the containers of this executor, which carry its label."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._local = threading.local()  # a requests session is not made for several threads

    def ping(self) -> None:
        """Raise EngineUnreachable when the engine does not answer."""
        with self._translated():
            self._client().ping()

    def has_image(self) -> bool:
        """Whether the image is on this host; nothing is ever pulled."""
        with self._translated():
            try:
                self._client().images.get(self._settings.image)
            except ImageNotFound:
                return False
            return True

    def create(self, job: Job, step: Step) -> None:
        """Make the container unless it is there, without starting it. Raises JobFailed."""
        if self.find(job.id, step) is not None:
            return
        with self._translated():
            self._client().containers.create(**containers.spec(self._settings, job, step))

    def find(self, job_id: str, step: Step) -> str | None:
        """Return the id of the job's container, by label; None when there is none."""
        for found in self.found(job_id):
            if found.step is step:
                return found.id
        return None

    def found(self, job_id: str | None = None) -> list[Found]:
        """Return this executor's containers, of one job or of all."""
        wanted = [f"{containers.INSTANCE_LABEL}={self._settings.instance}"]
        if job_id is not None:
            wanted.append(f"{containers.JOB_LABEL}={job_id}")
        with self._translated():
            rows = self._client().api.containers(all=True, filters={"label": wanted})
        return [
            Found(row["Id"], row["Labels"][containers.JOB_LABEL], Step(row["Labels"][containers.STEP_LABEL]))
            for row in rows
        ]

    def start(self, container_id: str) -> None:
        """Start the container if it never was; a program that ended is never run again. Raises JobFailed."""
        with self._translated():
            api = self._client().api
            if api.inspect_container(container_id)["State"]["Status"] == "created":
                api.start(container_id)

    def observe(self, container_id: str) -> Observation | None:
        """Return how the container is and what it said last on stderr; None when it is gone."""
        with self._translated():
            try:
                # The state first: what a program said before its end is then in the log for certain.
                state = self._client().api.inspect_container(container_id)["State"]
                raw = self._client().api.logs(container_id, stdout=False, stderr=True, tail=phases.LOG_LINES)
            except NotFound:
                return None
        return Observation(
            started=state["Status"] != "created",
            running=state["Status"] in {"created", "running", "paused", "restarting"},
            exit_code=state["ExitCode"],
            out_of_memory=state["OOMKilled"],
            lines=phases.clean(raw),
        )

    def remove(self, container_id: str) -> None:
        """Kill and remove the container with its anonymous volumes; no error when it is gone."""
        with self._translated():
            try:
                self._client().api.remove_container(container_id, v=True, force=True)
            except NotFound:
                return
            except APIError as error:
                if error.status_code != requests.codes.conflict:  # somebody else's removal is under way
                    raise

    def remove_job(self, job_id: str, step: Step | None = None) -> None:
        """Remove the job's containers, or that of one step."""
        for found in self.found(job_id):
            if step in (None, found.step):
                self.remove(found.id)

    def _client(self) -> docker.DockerClient:
        client: docker.DockerClient | None = getattr(self._local, "client", None)
        if client is None:
            client = docker.DockerClient(base_url=self._settings.engine, timeout=CALL_SECONDS)
            self._local.client = client
        return client

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except ImageNotFound as error:
            raise ends.image_missing(self._settings) from error
        except APIError as error:
            if _NO_ROOM in str(error.explanation).lower():
                raise JobFailed(disk.CODE, _NO_ROOM_TEXT) from error
            raise ends.engine_refused(str(error.explanation).rstrip(".")) from error
        except (requests.RequestException, DockerException) as error:
            raise EngineUnreachable(str(error)) from error
