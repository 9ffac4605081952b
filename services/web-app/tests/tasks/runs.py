"""What tests of the worker ask for and look at."""

from app.db.events import read_events
from app.db.models import Host, Run, ScheduledTask
from app.db.runs import create_host_run, create_run, find_run
from app.domain.envelope import TASK_UPDATE
from app.domain.status import HostRunKind
from tests.conftest import Sessions


def queue(web: Sessions, task_id: int = 1) -> int:
    with web.begin() as session:
        return create_run(session, session.get_one(ScheduledTask, task_id), "manual", "anna")[0].id


def told(web: Sessions) -> list[tuple[int, str]]:
    with web() as session:
        events = read_events(session, 0, 1000)[1]
    return [(event.data["task_run_id"], event.data["status"]) for event in events if event.type == TASK_UPDATE]


def stored_run(web: Sessions, run_id: int) -> Run:
    with web() as session:
        run = find_run(session, run_id)
    assert run is not None
    return run


def queue_for_host(web: Sessions, kind: HostRunKind, host_id: int = 1) -> int:
    with web.begin() as session:
        return create_host_run(session, session.get_one(Host, host_id), kind, "anna")[0].id
