"""What the executor calls the job of an attempt."""

from app.db.models import Run


def job_id(run: Run) -> str:
    """Return the executor's name for the attempt that `run` is at.

    It holds when the run was made too: a database that was restored gives the same ids again, and the executor would
    answer with the result of the job that it remembers.
    """
    return f"run-{run.id}-{run.attempt}-{int(run.created_at.timestamp() * 1000)}"
