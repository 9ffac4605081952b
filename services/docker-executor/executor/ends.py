"""How jobs end that fail: what happened, and the exact next step. `INVENTORY` stands for the deployment's own."""

import signal

from executor.jobs import Step
from executor.problems import JobFailed, JobLost
from executor.settings import Settings

_DEPLOY_VULS = "`ansible-playbook -i INVENTORY site.yml --tags vuls`"
_DEPLOY_EXECUTOR = "`ansible-playbook -i INVENTORY site.yml --tags executor`"
_TARGETS = "`ansible-playbook -i INVENTORY playbooks/scan_hosts.yml`"
_AGAIN = "press Run to scan again"
ABANDONED = "abandoned"


def abandoned(seconds: int) -> tuple[str, str]:
    """Nobody wants to know any more."""
    text = (
        f"Nobody asked about the scan for {seconds} s, so it was ended. Run `systemctl restart 'vuls-worker@*'` on the"
        f" scan host if the worker is down, then {_AGAIN}."
    )
    return ABANDONED, text


def internal() -> JobFailed:
    """A mistake in this service."""
    text = f"The executor failed. `journalctl -u vuls-executor` on the scan host says why; report it, then {_AGAIN}."
    return JobFailed("internal", text)


def targets_unusable(problem: str) -> JobFailed:
    """The file that names the targets is missing or damaged."""
    return JobFailed("misconfigured", f"The targets file cannot be used: {problem}. Run {_TARGETS}, which writes it.")


def target_removed(server: str) -> JobFailed:
    """The target went while the job waited."""
    text = (
        f"{server} was removed from this zone's targets. If it shall be scanned, run {_TARGETS} with it in the"
        " inventory."
    )
    return JobFailed("unknown_server", text)


def took_too_long(step: Step, seconds: int) -> JobFailed:
    """The program did not end within its limit."""
    name = "report_timeout" if step is Step.REPORT else "scan_timeout"
    text = (
        f"The {step} took longer than its limit of {seconds} s and was ended. Check the load of the host; if it needs"
        f" longer, raise {name} in executor_extra_settings and run {_DEPLOY_EXECUTOR}."
    )
    return JobFailed("time_limit", text)


def check_took_too_long(seconds: int) -> JobFailed:
    """A check did not end within the time that somebody waits for it."""
    text = (
        f"The check took longer than {seconds} s and was ended. Look at the load and the network of the host, then"
        " test the connection again."
    )
    return JobFailed("time_limit", text)


def out_of_memory(step: Step, settings: Settings) -> JobFailed:
    """The program was killed for the memory that it wanted."""
    text = (
        f"The {step} needed more than {settings.memory_mib} MiB. Raise memory_mib in executor_extra_settings and run"
        f" {_DEPLOY_EXECUTOR}, then {_AGAIN}."
    )
    return JobFailed("out_of_memory", text)


def image_unusable(settings: Settings) -> JobFailed:
    """The image has no Vuls that runs."""
    text = f"The image {settings.image} cannot run Vuls. Run {_DEPLOY_VULS} to bring it again, then {_AGAIN}."
    return JobFailed("image_unusable", text)


def image_missing(settings: Settings) -> JobFailed:
    """The engine has no such image."""
    text = f"The image {settings.image} is not on this scan host. Run {_DEPLOY_VULS} to bring it, then {_AGAIN}."
    return JobFailed("image_missing", text)


def killed(step: Step, number: int, settings: Settings) -> JobFailed:
    """Somebody else ended the program. Not every engine tells when that was the kernel, for lack of memory."""
    memory = (
        f" If `journalctl -k` there says out of memory, it needed more than {settings.memory_mib} MiB: raise memory_mib"
        f" in executor_extra_settings and run {_DEPLOY_EXECUTOR}."
    )
    text = (
        f"The {step} was ended by signal {number}. `journalctl -u docker -u vuls-executor` on the scan host tells what"
        f" ended it.{memory if number == signal.SIGKILL else ''} Then {_AGAIN}."
    )
    return JobFailed("program_killed", text)


def engine_away() -> JobFailed:
    """The engine did not answer for as long as a job waits."""
    text = f"The Docker engine of this scan host does not answer. Run `systemctl restart docker` there, then {_AGAIN}."
    return JobFailed("engine_unreachable", text)


def engine_refused(words: str) -> JobFailed:
    """The engine answers, and will not."""
    text = f"The Docker engine refused: {words}. `journalctl -u docker` on the scan host has more; after that {_AGAIN}."
    return JobFailed("engine_refused", text)


def container_lost(step: Step) -> JobLost:
    """The container is not there any more, and nobody knows how far it came."""
    return JobLost(
        "container_lost", f"The container of the {step} is gone; somebody removed it. Press Run to scan again."
    )


def result_invalid(what: str) -> JobFailed:
    """The file that should be the result is none; `what` is how that shows."""
    text = (
        f"{what} Press Run to scan again. If it ends the same way, run {_DEPLOY_VULS} to bring Vuls again, and look at"
        " the server itself: one that somebody has taken over may answer anything."
    )
    return JobFailed("result_invalid", text)


def result_too_large(limit: int) -> JobFailed:
    """The result has more than `limit` bytes."""
    text = (
        f"The result is larger than {limit // 1024 // 1024} MiB. Raise result_limit_mib in executor_extra_settings and"
        f" run {_DEPLOY_EXECUTOR}, then {_AGAIN}."
    )
    return JobFailed("result_too_large", text)
