"""What is said of a job that failed: the whole sentence, which names the next command."""

import re
from inspect import isfunction
from pathlib import Path

import pytest

from executor import ends
from executor.jobs import Step
from executor.problems import JobFailed
from executor.settings import Settings

SETTINGS = Settings(container_uid=10001, state_dir=Path("/var/lib/vuls-executor"))
VULS = "`ansible-playbook -i INVENTORY site.yml --tags vuls`"
EXECUTOR = "`ansible-playbook -i INVENTORY site.yml --tags executor`"
TARGETS = "`ansible-playbook -i INVENTORY playbooks/scan_hosts.yml`"
SENTENCES = [
    (
        ends.internal(),
        "internal",
        """The executor failed. `journalctl -u vuls-executor` on the scan host says why; report it, then press Run
        to scan again.""",
    ),
    (
        ends.targets_unusable("no such file"),
        "misconfigured",
        f"""The targets file cannot be used: no such file. Run {TARGETS}, which writes it.""",
    ),
    (
        ends.target_removed("web-3"),
        "unknown_server",
        f"""web-3 was removed from this zone's targets. If it shall be scanned, run {TARGETS} with it in the
        inventory.""",
    ),
    (
        ends.took_too_long(Step.SCAN, 7200),
        "time_limit",
        f"""The scan took longer than its limit of 7200 s and was ended. Check the load of the host; if it needs
        longer, raise scan_timeout in executor_extra_settings and run {EXECUTOR}.""",
    ),
    (
        ends.took_too_long(Step.REPORT, 900),
        "time_limit",
        f"""The report took longer than its limit of 900 s and was ended. Check the load of the host; if it needs
        longer, raise report_timeout in executor_extra_settings and run {EXECUTOR}.""",
    ),
    (
        ends.check_took_too_long(120),
        "time_limit",
        """The check took longer than 120 s and was ended. Look at the load and the network of the host, then test
        the connection again.""",
    ),
    (
        ends.out_of_memory(Step.SCAN, SETTINGS),
        "out_of_memory",
        f"""The scan needed more than 1024 MiB. Raise memory_mib in executor_extra_settings and run {EXECUTOR}, then
        press Run to scan again.""",
    ),
    (
        ends.image_unusable(SETTINGS),
        "image_unusable",
        f"""The image vuls/vuls:v0.40.1 cannot run Vuls. Run {VULS} to bring it again, then press Run to scan again.""",
    ),
    (
        ends.image_missing(SETTINGS),
        "image_missing",
        f"""The image vuls/vuls:v0.40.1 is not on this scan host. Run {VULS} to bring it, then press Run to scan
        again.""",
    ),
    (
        ends.killed(Step.REPORT, 15, SETTINGS),
        "program_killed",
        """The report was ended by signal 15. `journalctl -u docker -u vuls-executor` on the scan host tells what ended
        it. Then press Run to scan again.""",
    ),
    (
        ends.killed(Step.SCAN, 9, SETTINGS),
        "program_killed",
        f"""The scan was ended by signal 9. `journalctl -u docker -u vuls-executor` on the scan host tells what ended
        it. If `journalctl -k` there says out of memory, it needed more than 1024 MiB: raise memory_mib in
        executor_extra_settings and run {EXECUTOR}. Then press Run to scan again.""",
    ),
    (
        ends.engine_away(),
        "engine_unreachable",
        """The Docker engine of this scan host does not answer. Run `systemctl restart docker` there, then press
        Run to scan again.""",
    ),
    (
        ends.engine_refused("no space left"),
        "engine_refused",
        """The Docker engine refused: no space left. `journalctl -u docker` on the scan host has more; after that
        press Run to scan again.""",
    ),
    (
        ends.container_lost(Step.SCAN),
        "container_lost",
        """The container of the scan is gone; somebody removed it. Press Run to scan again.""",
    ),
    (
        ends.result_invalid("The result is not that of web-3."),
        "result_invalid",
        f"""The result is not that of web-3. Press Run to scan again. If it ends the same way, run {VULS} to bring Vuls
        again, and look at the server itself: one that somebody has taken over may answer anything.""",
    ),
    (
        ends.result_too_large(64 * 1024 * 1024),
        "result_too_large",
        f"""The result is larger than 64 MiB. Raise result_limit_mib in executor_extra_settings and run {EXECUTOR},
        then press Run to scan again.""",
    ),
]


@pytest.mark.parametrize(("end", "code", "sentence"), SENTENCES, ids=lambda one: one if str(one).isidentifier() else "")
def test_the_whole_sentence_of_an_end(end: JobFailed, code: str, sentence: str) -> None:
    assert (end.code, end.sentence) == (code, " ".join(sentence.split()))


def test_the_sentence_of_a_job_that_nobody_asked_about() -> None:
    said = """Nobody asked about the scan for 60 s, so it was ended. Run `systemctl restart 'vuls-worker@*'` on the scan
        host if the worker is down, then press Run to scan again."""
    assert ends.abandoned(60) == ("abandoned", " ".join(said.split()))


def test_every_end_has_its_sentence_here() -> None:
    here = {name for name, thing in vars(ends).items() if isfunction(thing) and not name.startswith("_")}
    assert here == set(re.findall(r"ends\.(\w+)\(", Path(__file__).read_text()))
