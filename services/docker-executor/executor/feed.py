"""Tells listeners about the moves and phases of a job as they happen."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable

from executor.jobs import Job


class Feed:
    """One queue a listener; lives on the event loop's thread."""

    def __init__(self) -> None:
        self._listeners: defaultdict[str, set[asyncio.Queue[Job | None]]] = defaultdict(set)
        self._closed = False

    def publish(self, job: Job) -> None:
        """Hand the job's new state to everyone who listens to it. Never waits."""
        for queue in self._listeners.get(job.id, ()):
            queue.put_nowait(job)

    async def follow(self, job_id: str, read: Callable[[str], Job | None]) -> AsyncIterator[Job]:
        """Yield the job as it is now, then at every change, up to its end or the server's.

        It listens before it reads, so that no change falls between the two.
        """
        queue: asyncio.Queue[Job | None] = asyncio.Queue()
        self._listeners[job_id].add(queue)
        try:
            job = read(job_id)
            last: tuple[str, str] | None = None
            while job is not None:
                if (job.state, job.phase) != last:
                    last = (job.state, job.phase)
                    yield job
                if job.state.is_end or self._closed:
                    return
                job = await queue.get()
        finally:
            self._listeners[job_id].discard(queue)
            if not self._listeners[job_id]:
                del self._listeners[job_id]

    def is_followed(self, job_id: str) -> bool:
        """Tell whether somebody listens to the job."""
        return bool(self._listeners.get(job_id))

    def close(self) -> None:
        """End every listener's stream; they come back to the next executor."""
        self._closed = True
        for queues in self._listeners.values():
            for queue in queues:
                queue.put_nowait(None)
