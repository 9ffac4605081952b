"""Tables. The migrations are what creates them; a test holds the two to each other."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Double,
    ForeignKey,
    Identity,
    Index,
    MetaData,
    SmallInteger,
    Text,
    UniqueConstraint,
    false,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import BYTEA, INET, JSONB, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

FIRST_SYSTEM_ID = 1_000_000  # ids below are the deployment's: hosts and tasks that an inventory names


class Base(DeclarativeBase):
    """Maps Python types to the column types that the migrations use."""

    # PostgreSQL's own names, so that the migrations need not spell them out.
    metadata = MetaData(
        naming_convention={
            "ix": "%(table_name)s_%(column_0_N_name)s_idx",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
        }
    )
    type_annotation_map = {  # noqa: RUF012  (SQLAlchemy's own form)
        int: BigInteger,
        str: Text,
        datetime: TIMESTAMP(timezone=True),
        dict[str, Any]: JSONB,
        bytes: BYTEA,
        float: Double,
    }


def _identity() -> Identity:
    return Identity(always=False, start=FIRST_SYSTEM_ID)


class HostGroup(Base):
    """A set of hosts that users are given rights for."""

    __tablename__ = "host_group"
    id: Mapped[int] = mapped_column(_identity(), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)


class HostGroupMember(Base):
    """A host is in a group."""

    __tablename__ = "host_group_member"
    host_id: Mapped[int] = mapped_column(ForeignKey("host.id", ondelete="CASCADE"), primary_key=True)
    group_id: Mapped[int] = mapped_column(ForeignKey("host_group.id", ondelete="CASCADE"), primary_key=True, index=True)


class Host(Base):
    """A machine that Vuls scans. `name` is the executor's server name."""

    __tablename__ = "host"
    id: Mapped[int] = mapped_column(_identity(), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    address: Mapped[str]
    port: Mapped[int] = mapped_column(default=22)
    zone: Mapped[str] = mapped_column(default="default")
    hypervisor_group: Mapped[str | None]  # the hosts that share a hypervisor with it
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    groups: Mapped[list[HostGroup]] = relationship(secondary="host_group_member", order_by=HostGroup.name)


class User(Base):
    """A person or a tool that signs in. `role` is viewer, operator or admin."""

    __tablename__ = "app_user"
    id: Mapped[int] = mapped_column(_identity(), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    role: Mapped[str]
    password_hash: Mapped[str | None]
    disabled: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    groups: Mapped[list[HostGroup]] = relationship(secondary="user_group", order_by=HostGroup.name)


class UserGroup(Base):
    """A user has its role's rights on the hosts of a group."""

    __tablename__ = "user_group"
    user_id: Mapped[int] = mapped_column(ForeignKey("app_user.id", ondelete="CASCADE"), primary_key=True)
    group_id: Mapped[int] = mapped_column(ForeignKey("host_group.id", ondelete="CASCADE"), primary_key=True, index=True)


class UserSession(Base):
    """A signed-in browser. Only the SHA-256 of the cookie's value is stored."""

    __tablename__ = "user_session"
    token_hash: Mapped[bytes] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("app_user.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(index=True)
    address: Mapped[str | None] = mapped_column(INET)


class ApiToken(Base):
    """A bearer token of a user. Only its SHA-256 is stored; `prefix` helps people to tell tokens apart."""

    __tablename__ = "api_token"
    id: Mapped[int] = mapped_column(_identity(), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("app_user.id", ondelete="CASCADE"), index=True)
    name: Mapped[str]
    prefix: Mapped[str]
    token_hash: Mapped[bytes] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class LoginFailure(Base):
    """A refused login, kept for the throttle's window."""

    __tablename__ = "login_failure"
    id: Mapped[int] = mapped_column(_identity(), primary_key=True)
    user_name: Mapped[str] = mapped_column(index=True)
    address: Mapped[str | None] = mapped_column(INET, index=True)
    failed_at: Mapped[datetime] = mapped_column(index=True, server_default=func.now())


class ScheduledTask(Base):
    """What to scan and when. Without `cron` it runs by hand only.

    `paused_by_removal`: it was enabled when its host was removed, and is again when the host comes back.
    """

    __tablename__ = "scheduled_task"
    id: Mapped[int] = mapped_column(_identity(), primary_key=True)
    name: Mapped[str]
    host_id: Mapped[int] = mapped_column(ForeignKey("host.id", ondelete="CASCADE"), index=True)
    scan_type: Mapped[str] = mapped_column(default="fast")
    cron: Mapped[str | None]
    timezone: Mapped[str] = mapped_column(default="UTC")
    enabled: Mapped[bool] = mapped_column(default=True)
    paused_by_removal: Mapped[bool] = mapped_column(default=False, server_default=false())
    time_limit_minutes: Mapped[int | None] = mapped_column(SmallInteger)  # of a scan; None: as the workers let it
    next_due_at: Mapped[datetime | None] = mapped_column(index=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    host: Mapped[Host] = relationship()

    @property
    def host_name(self) -> str:
        """The name of the host; `host` is loaded with every query of this package."""
        return self.host.name


class Run(Base):
    """One scan of one host: asked for, leased by a worker, ended. The truth that events tell of.

    `status` is queued, started, success, failed or cancelled. `result_data` is exactly what the run's last event says.
    `kind` is scan, check (whether it could be scanned) or reassess (the packages of an earlier scan, matched anew).
    """

    __tablename__ = "run"
    __table_args__ = (
        UniqueConstraint("task_id", "scheduled_for"),  # a due time fires once
        Index("run_by_task", "task_id", text("id DESC")),
        Index("run_by_task_end", "task_id", text("finished_at DESC")),
        Index("run_by_end", text("finished_at DESC"), text("id DESC")),
        Index(
            "run_ended",
            "host_id",
            text("finished_at DESC"),
            postgresql_where=text("status IN ('success', 'failed')"),
        ),
        Index(
            "run_reassessed",
            "host_id",
            text("finished_at DESC"),
            postgresql_where=text("kind = 'reassess' AND status = 'success'"),
        ),
        Index("run_holding", "host_id", postgresql_where=text("lease_expires_at IS NOT NULL")),
        Index("run_open", "id", postgresql_where=text("status IN ('queued', 'started')")),
        Index(
            "run_with_phases", "host_id", text("finished_at DESC"), postgresql_where=text("phase_seconds IS NOT NULL")
        ),
    )
    id: Mapped[int] = mapped_column(_identity(), primary_key=True)
    task_id: Mapped[int] = mapped_column(default=0)  # 0: no task, an ad-hoc run
    task_name: Mapped[str]
    host_id: Mapped[int] = mapped_column(ForeignKey("host.id", ondelete="CASCADE"), index=True)
    zone: Mapped[str]
    kind: Mapped[str] = mapped_column(default="scan", server_default="scan")
    scan_type: Mapped[str]
    time_limit_minutes: Mapped[int | None] = mapped_column(SmallInteger)  # of an attempt; its task's at the time
    status: Mapped[str] = mapped_column(default="queued")
    trigger: Mapped[str]  # manual, schedule, adhoc
    requested_by: Mapped[str | None]
    scheduled_for: Mapped[datetime | None]
    attempt: Mapped[int] = mapped_column(SmallInteger, default=0)
    takeovers: Mapped[int] = mapped_column(SmallInteger, default=0, server_default="0")  # of this attempt
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    sent_at: Mapped[datetime | None]
    sent_count: Mapped[int] = mapped_column(SmallInteger, default=0)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    lease_owner: Mapped[str | None]
    # Also after the end, while the scan may not be over: no other scan of the host begins before.
    lease_expires_at: Mapped[datetime | None]
    result_data: Mapped[dict[str, Any]] = mapped_column(default=dict)
    phase: Mapped[str | None]
    percent: Mapped[int | None] = mapped_column(SmallInteger)
    phase_seconds: Mapped[dict[str, float] | None] = mapped_column(
        JSONB(none_as_null=True)
    )  # of a good scan, seen whole
    log_lines: Mapped[int] = mapped_column(default=0, server_default="0")  # said so far; the number of the last line
    host: Mapped[Host] = relationship()

    @property
    def host_name(self) -> str:
        """The name of the host; `host` is loaded with every query of this package."""
        return self.host.name


class RunLog(Base):
    """A line that a run's programs said. `n` goes on through all attempts of the run."""

    __tablename__ = "run_log"
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"), primary_key=True)
    n: Mapped[int] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(SmallInteger)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)
    text: Mapped[str]


class Scan(Base):
    """What a run brought back: the verdict and Vuls' result without its `config`.

    `counts` by severity are there exactly when it is assessed; a severity that was not found may be missing.
    Packages that an earlier scan collected have its id and its time, those of its own have neither.
    """

    __tablename__ = "scan"
    __table_args__ = (
        Index("scan_assessed", "host_id", text("id DESC"), postgresql_where=text("verdict = 'assessed'")),
    )
    id: Mapped[int] = mapped_column(_identity(), primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"), index=True)
    host_id: Mapped[int] = mapped_column(ForeignKey("host.id", ondelete="CASCADE"), index=True)
    attempt: Mapped[int] = mapped_column(SmallInteger)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)
    family: Mapped[str]
    release: Mapped[str]
    verdict: Mapped[str]  # assessed, not_assessed
    reason: Mapped[dict[str, Any] | None]  # {"code", "sentence"}
    counts: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    demo: Mapped[bool] = mapped_column(default=False)
    kernel: Mapped[str] = mapped_column(default="", server_default="")
    reboot_required: Mapped[bool] = mapped_column(default=False, server_default=false())
    package_count: Mapped[int]
    database_digest: Mapped[str | None]  # of the vulnerability database that its packages were matched against
    database_modified_at: Mapped[datetime | None]
    packages_from_scan_id: Mapped[int | None]
    collected_at: Mapped[datetime | None]
    result: Mapped[dict[str, Any]] = mapped_column(deferred=True)  # megabytes, read only by those who ask for it


class Finding(Base):
    """One CVE of one scan."""

    __tablename__ = "finding"
    scan_id: Mapped[int] = mapped_column(ForeignKey("scan.id", ondelete="CASCADE"), primary_key=True)
    cve_id: Mapped[str] = mapped_column(primary_key=True)
    host_id: Mapped[int]
    severity: Mapped[str]  # critical, high, medium, low, unknown
    score: Mapped[float | None]
    title: Mapped[str]
    packages: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)  # [{"name", "fixed_in", "not_fixed_yet"}]
    links: Mapped[list[str]] = mapped_column(JSONB, default=list, server_default="[]")


class HostFinding(Base):
    """How the last change of a CVE on a host was. What the host has now are the findings of its last assessed scan.

    `severity` is that after the change, of a fixed one the last it had; `severity_before` where the change was that.
    """

    __tablename__ = "host_finding"
    host_id: Mapped[int] = mapped_column(ForeignKey("host.id", ondelete="CASCADE"), primary_key=True)
    cve_id: Mapped[str] = mapped_column(primary_key=True)
    severity: Mapped[str]
    severity_before: Mapped[str | None]
    change: Mapped[str]  # baseline, new, reappeared, severity_changed, fixed
    changed_scan_id: Mapped[int]
    changed_at: Mapped[datetime]
    first_seen_at: Mapped[datetime]


class ScanHost(Base):
    """A host that scans for a zone, as its worker saw it last: `executor` is ok, degraded, ill or unreachable."""

    __tablename__ = "scan_host"
    zone: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    executor: Mapped[str]
    database_digest: Mapped[str | None]
    database_modified_at: Mapped[datetime | None]


class Event(Base):
    """What happened, written in the transaction in which it happened. `seq` is the cursor, set while COMMIT runs.

    Partitioned by week of `created_at`. Unique numbers are the sequence's promise: an index over partitions gives none.
    """

    __tablename__ = "event"
    __table_args__ = (Index("event_by_seq", "seq"),)
    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    seq: Mapped[int | None]
    type: Mapped[str]
    host_id: Mapped[int | None]  # null: for users who may see all hosts
    data: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class EventEpoch(Base):
    """The history that sequence numbers belong to; one row."""

    __tablename__ = "event_epoch"
    only_row: Mapped[bool] = mapped_column(primary_key=True, default=True)
    epoch: Mapped[str]
    system_identifier: Mapped[str]
    timeline: Mapped[str]


class EventFloor(Base):
    """The sequence from which on the log is complete; one row."""

    __tablename__ = "event_floor"
    only_row: Mapped[bool] = mapped_column(primary_key=True, default=True)
    seq: Mapped[int]
