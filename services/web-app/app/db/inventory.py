"""Hosts and tasks that the deployment names: `vulsctl inventory apply`."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from sqlalchemy import select, update
from sqlalchemy.orm import Session, selectinload

from app.db.groups import ensure_group, groups_by_name
from app.db.models import FIRST_SYSTEM_ID, Host, Run, ScheduledTask
from app.db.tasks import create_task, set_schedule
from app.domain import names
from app.domain.status import ScanType
from app.domain.time_limit import TimeLimit

HostName = Annotated[str, StringConstraints(pattern=names.HOST)]
GroupName = Annotated[str, StringConstraints(pattern=names.GROUP)]
FixedId = Annotated[int, Field(ge=1, lt=FIRST_SYSTEM_ID)]


class InventoryError(ValueError):
    """The inventory contradicts itself or what is there; the message says where."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")

    def given(self, *fields: str) -> dict[str, Any]:
        """Return those of `fields` that the inventory states; it manages no others."""
        return {field: getattr(self, field) for field in fields if field in self.model_fields_set}


class InventoryHost(_Part):
    """A host by its name. Without `id` it gets one of the system's."""

    id: FixedId | None = None
    name: HostName
    address: Annotated[str, StringConstraints(pattern=names.ADDRESS)]
    port: Annotated[int, Field(ge=1, le=65535)] = 22
    zone: Annotated[str, StringConstraints(pattern=names.ZONE)] = "default"
    hypervisor_group: GroupName | None = None
    groups: list[GroupName] = []


class InventoryTask(_Part):
    """A task by its id, or by its name and host. `cron: null` means by hand only."""

    id: FixedId | None = None
    name: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    host: HostName
    scan_type: ScanType = "fast"
    cron: str | None = None
    timezone: str = "UTC"
    time_limit_minutes: TimeLimit | None = None


class Inventory(_Part):
    """What `vulsctl inventory apply -` reads."""

    hosts: list[InventoryHost] = []
    tasks: list[InventoryTask] = []
    remove_hosts: list[HostName] = []

    @model_validator(mode="after")
    def _decide(self) -> Self:
        named = {host.name for host in self.hosts} | {task.host for task in self.tasks}
        contradicted = sorted(named & set(self.remove_hosts))
        if contradicted:
            raise ValueError(f"both named and removed: {', '.join(contradicted)}")
        return self


def apply_inventory(session: Session, inventory: Inventory) -> dict[str, Any]:
    """Make hosts and tasks as `inventory` states, in the caller's transaction.

    What it does not name stays as it is, and so does a field that it leaves out. A removed host keeps its history, but
    its tasks are disabled until the inventory names it again. The queued runs of a host that moves to another zone move
    with it. Applied again it changes nothing.
    Returns `changed` and the names of what was created or updated.

    Raises:
        InventoryError: a name or an id is taken by another row, or a task names an unknown host.
        BadScheduleError: a task's schedule cannot be used.
    """
    report: dict[str, list[str]] = {"hosts": [], "tasks": [], "groups": [], "disabled_tasks": [], "enabled_tasks": []}
    for host in inventory.hosts:
        if _apply_host(session, host, report["groups"]):
            report["hosts"].append(host.name)
    report["enabled_tasks"].extend(_enable_tasks(session, [host.name for host in inventory.hosts]))
    for task in inventory.tasks:
        if _apply_task(session, task):
            report["tasks"].append(task.name)
    for task_name in _disable_tasks(session, inventory.remove_hosts):
        report["disabled_tasks"].append(task_name)
    return {"changed": any(report.values()), **report}


def _disable_tasks(session: Session, host_names: list[str]) -> list[str]:
    query = select(ScheduledTask).join(Host).where(Host.name.in_(host_names), ScheduledTask.enabled)
    tasks = session.scalars(query.order_by(ScheduledTask.id)).all()
    for task in tasks:
        task.enabled, task.paused_by_removal, task.next_due_at = False, True, None
    session.flush()
    return [task.name for task in tasks]


def _enable_tasks(session: Session, host_names: list[str]) -> list[str]:
    query = select(ScheduledTask).join(Host).where(Host.name.in_(host_names), ScheduledTask.paused_by_removal)
    tasks = session.scalars(query.order_by(ScheduledTask.id)).all()
    for task in tasks:
        set_schedule(task, task.cron, task.timezone, enabled=True)
    session.flush()
    return [task.name for task in tasks]


def _update(row: object, values: dict[str, Any]) -> bool:
    changes = {name: value for name, value in values.items() if getattr(row, name) != value}
    for name, value in changes.items():
        setattr(row, name, value)
    return bool(changes)


def _find_host(session: Session, wanted: InventoryHost) -> Host | None:
    by_name = session.scalar(select(Host).where(Host.name == wanted.name).options(selectinload(Host.groups)))
    if wanted.id is None or (by_name is not None and by_name.id == wanted.id):
        return by_name
    if by_name is not None:
        raise InventoryError(f"host {wanted.name} has the id {by_name.id}, not {wanted.id}")
    return session.get(Host, wanted.id, options=[selectinload(Host.groups)])


def _apply_host(session: Session, wanted: InventoryHost, new_groups: list[str]) -> bool:
    host = _find_host(session, wanted)
    created = host is None
    if host is None:
        host = Host(id=wanted.id, name=wanted.name, address=wanted.address, port=wanted.port, zone=wanted.zone)
        session.add(host)
        session.flush()
    zone = host.zone
    changed = _update(host, {"name": wanted.name} | wanted.given("address", "port", "zone", "hypervisor_group"))
    if host.zone != zone:  # nobody in the old zone can scan it any more
        session.execute(update(Run).where(Run.host_id == host.id, Run.status == "queued").values(zone=host.zone))
    if "groups" in wanted.model_fields_set and {group.name for group in host.groups} != set(wanted.groups):
        new_groups.extend(name for name in sorted(set(wanted.groups)) if ensure_group(session, name))
        host.groups = groups_by_name(session, wanted.groups)
        changed = True
    session.flush()
    return created or changed


def _find_task(session: Session, wanted: InventoryTask, host: Host) -> ScheduledTask | None:
    if wanted.id is not None:
        return session.get(ScheduledTask, wanted.id)
    query = select(ScheduledTask).where(ScheduledTask.name == wanted.name, ScheduledTask.host_id == host.id)
    return session.scalar(query.order_by(ScheduledTask.id).limit(1))


def _apply_task(session: Session, wanted: InventoryTask) -> bool:
    host = session.scalar(select(Host).where(Host.name == wanted.host))
    if host is None:
        raise InventoryError(f"task {wanted.name}: there is no host called {wanted.host}")
    task = _find_task(session, wanted, host)
    if task is None:
        create_task(
            session,
            task_id=wanted.id,
            name=wanted.name,
            host=host,
            scan_type=wanted.scan_type,
            cron=wanted.cron,
            timezone=wanted.timezone,
            time_limit_minutes=wanted.time_limit_minutes,
        )
        return True
    changed = _update(task, {"name": wanted.name, "host_id": host.id} | wanted.given("scan_type", "time_limit_minutes"))
    stated = wanted.given("cron", "timezone")
    if any(getattr(task, name) != value for name, value in stated.items()):
        set_schedule(task, stated.get("cron", task.cron), stated.get("timezone", task.timezone), enabled=task.enabled)
        changed = True
    session.flush()
    return changed
