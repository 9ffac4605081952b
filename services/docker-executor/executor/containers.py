"""What the containers of a job may do. The whole of it is decided here and in the settings, nothing by a request."""

from typing import Any

from docker.types import LogConfig, Mount, Ulimit

from executor import vuls_config
from executor.jobs import Job, Kind, Step
from executor.settings import MIB, Settings
from executor.workspace import Workspace

JOB_LABEL = "vuls-live.job"
STEP_LABEL = "vuls-live.step"
INSTANCE_LABEL = "vuls-live.executor"


def name(settings: Settings, job_id: str, step: Step) -> str:
    """Return the container's name; as names are unique, the engine itself refuses a second one."""
    return f"vuls-{settings.instance}-{job_id}-{step}"


def labels(settings: Settings, job_id: str, step: Step) -> dict[str, str]:
    """Return the labels by which the container is found again."""
    found = {
        JOB_LABEL: job_id,
        STEP_LABEL: step.value,
        INSTANCE_LABEL: settings.instance,
        "vuls-live.role": "executor",
    }
    return found | ({"vuls-live.stack": settings.stack} if settings.stack else {})


def scan_limit(settings: Settings, job: Job) -> int:
    """Return how many seconds the program that logs in may take."""
    return min(settings.scan_timeout, vuls_config.CHECK_SECONDS) if job.kind is Kind.CHECK else settings.scan_timeout


def spec(settings: Settings, job: Job, step: Step) -> dict[str, Any]:
    """Return the arguments of docker's `containers.create` for one program of the job."""
    private = {
        Step.SCAN: {
            "command": _scan_command(settings, job),
            "network_mode": settings.scan_network,
        },
        Step.REPORT: {"command": vuls_config.report_command(), "network_mode": "none"},
    }[step]
    memory = settings.memory_mib * MIB
    return {
        "image": settings.image,
        "entrypoint": ["vuls"],
        "name": name(settings, job.id, step),
        "labels": labels(settings, job.id, step),
        "user": f"{settings.uid}:{vuls_config.NOBODY_GID}",
        "working_dir": "/tmp",  # noqa: S108 (in the container, where it is a tmpfs)
        "environment": {"HOME": vuls_config.HOME, "TZ": "UTC"},
        "use_config_proxy": False,
        "init": True,  # without one Vuls is process 1, and tells its end by a signal as an error of its own
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "mem_limit": memory,
        "memswap_limit": memory,
        "pids_limit": settings.pids,
        "nano_cpus": int(settings.cpus * 1_000_000_000),
        # A file may outgrow the result limit by a little, so that the collector can tell that it did.
        "ulimits": [
            Ulimit(name="fsize", soft=settings.result_limit + MIB, hard=settings.result_limit + MIB),
            Ulimit(name="core", soft=0, hard=0),
        ],
        "tmpfs": {
            "/tmp": "size=64m,mode=1777,nosuid,nodev,noexec",  # noqa: S108
            vuls_config.HOME: f"size=8m,mode=0700,uid={settings.uid},nosuid,nodev,noexec",
        },
        "mounts": _mounts(settings, job.id, step),
        "log_config": LogConfig(type=LogConfig.types.JSON, config={"max-size": "1m", "max-file": "1"}),
        "healthcheck": {"test": ["NONE"]},
        "restart_policy": {"Name": "no"},
        **private,
    }


def _scan_command(settings: Settings, job: Job) -> list[str]:
    command = vuls_config.check_command if job.kind is Kind.CHECK else vuls_config.scan_command
    return command(job.server, scan_limit(settings, job))


def _mounts(settings: Settings, job_id: str, step: Step) -> list[Mount]:
    place = Workspace(settings, job_id)
    config = {Step.SCAN: place.scan_config, Step.REPORT: place.report_config}[step]
    mounts = [
        _bind(str(config), vuls_config.CONFIG_DIR),
        _bind(str(place.passwd), "/etc/passwd"),
        _bind(str(place.results), vuls_config.JOB_DIR, read_only=False),
    ]
    # A missing database is left out: Vuls then says so itself, in words that the worker knows.
    if step is Step.REPORT and settings.database.exists():
        mounts.append(_bind(str(settings.database.resolve()), f"/db/{settings.database.name}"))
    return mounts


def _bind(source: str, target: str, *, read_only: bool = True) -> Mount:
    return Mount(target=target, source=source, type="bind", read_only=read_only)
