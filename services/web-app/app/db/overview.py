"""Everything the page shows, true at one cursor."""

from typing import Any

from sqlalchemy.orm import Session

from app.db.events import head
from app.db.hosts import host_json, list_hosts
from app.db.runs import last_runs, open_runs, recent_runs, run_json
from app.db.scan_hosts import list_scan_hosts, scan_host_json
from app.db.tasks import list_tasks, task_json
from app.domain.permissions import Access


def overview(session: Session, access: Access) -> dict[str, Any]:
    """Return tasks, running and recent runs, hosts and scan hosts with the cursor from which a reader continues.

    All of it is one snapshot: `session` must not have run anything in its transaction yet. Ids are numbers, times ISO
    8601 with Z.
    """
    session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    tasks = list_tasks(session, access)
    last = last_runs(session, [task.id for task in tasks])
    return {
        "cursor": str(head(session)),
        "user": {"id": access.user_id, "name": access.name, "role": str(access.role)},
        "tasks": [
            task_json(task) | {"last_run": run_json(last[task.id]) if task.id in last else None} for task in tasks
        ],
        "running": [run_json(run) for run in open_runs(session, access)],
        "recent": [run_json(run) for run in recent_runs(session, access)],
        "hosts": [host_json(host) for host in list_hosts(session, access)],
        "scan_hosts": [scan_host_json(seen) for seen in list_scan_hosts(session, access)],
    }
