"""Rows that tests start from."""

from sqlalchemy.orm import Session, sessionmaker

from app.db.models import Event, Host, Run, ScheduledTask
from app.db.runs import create_run
from app.db.tasks import create_task


def add_host(session: Session, name: str = "vuls-target-1", zone: str = "default", host_id: int | None = None) -> Host:
    host = Host(id=host_id, name=name, address=name, zone=zone)
    session.add(host)
    session.flush()
    return host


def add_task(
    session: Session, name: str = "vuls-target-1", zone: str = "default", cron: str | None = None
) -> ScheduledTask:
    return create_task(session, name=f"Scan {name}", host=add_host(session, name, zone), scan_type="fast", cron=cron)


def queue_run(sessions: sessionmaker[Session], name: str = "vuls-target-1", zone: str = "default") -> tuple[Run, Event]:
    """A committed run of a new task of a new host."""
    with sessions.begin() as session:
        return create_run(session, add_task(session, name, zone), "manual", "anna")
