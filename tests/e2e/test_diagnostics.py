"""playbooks/diagnostics.yml as its page has it: what helps is in the archive, secrets are not, no host is changed."""

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runbooks import run_page

from . import stack

BUNDLES = stack.LOCAL / "diagnostics"
AWAY, HOST = "vuls-web-2", "vuls-web-1"
UNIT, FILE = "vuls-e2e-diagnostics", "/etc/vuls/e2e-diagnostics.env"


def secrets() -> dict[str, str]:
    """Return every secret that the stack has, by a name that may be printed: of keys, each line."""
    files = [
        stack.LOCAL / "admin-password",
        *(stack.LOCAL / "secrets").rglob("*"),
        *(stack.LOCAL / "pki").rglob("*.key"),
    ]
    return {
        f"{path.name}:{number}": line
        for path in files
        if path.is_file() and path.suffix != ".pub"
        for number, line in enumerate(path.read_text().split("\n"), 1)
        if len(line) > 8 and not line.startswith("-----")
    }


@pytest.fixture
def leaking() -> Iterator[int]:
    """All secrets stand in a file and in the journal of a host, as after somebody's mistake; yields how many."""
    values = secrets().values()
    lines = "".join(f"line {number} is {value}\n" for number, value in enumerate(values))
    stack.must(stack.on(HOST, "tee", FILE, stdin=lines))
    started = ("systemd-run", "--quiet", f"--unit={UNIT}", "--property=RemainAfterExit=yes", "cat", FILE)
    stack.must(stack.on(HOST, *started))
    yield len(values)
    stack.must(stack.on(HOST, "systemctl", "stop", UNIT))
    stack.must(stack.on(HOST, "rm", FILE))


@pytest.fixture
def host_away() -> Iterator[None]:
    """One of the web hosts does not answer."""
    stack.must(stack.run("docker", "pause", AWAY))
    yield
    stack.must(stack.run("docker", "unpause", AWAY))
    stack.wait_until(
        lambda: not stack.on(AWAY, "vulsctl", "status").returncode, timeout=180, what=f"{AWAY} is well again"
    )


def content(bundle: Path) -> dict[str, str]:
    """Return the texts of an archive by their names in it."""
    with tarfile.open(bundle) as archive:
        return {
            member.name.partition("/")[2]: file.read().decode()
            for member in archive
            if (file := archive.extractfile(member)) is not None
        }


@pytest.mark.usefixtures("host_away")
def test_the_archive_has_what_helps_and_no_secret_although_a_host_is_away(leaking: int) -> None:
    before = set(BUNDLES.glob("*"))
    said = run_page("docs/operations/diagnostics.md")
    (bundle,) = set(BUNDLES.glob("*")) - before
    try:
        assert bundle.stat().st_mode & 0o077 == 0
        texts = content(bundle)
    finally:
        bundle.unlink()
    everything = "\n".join([*said, *texts.values()])
    assert not [name for name, value in secrets().items() if value in everything]
    for place in (f"{HOST}/files{FILE}", f"{HOST}/journal/{UNIT}.service.txt"):
        # Ansible itself takes out the value that it hands to the collecting module.
        hidden = re.findall(r"line \d+ is (?:\(masked\)|\*{8})$", texts[place], re.MULTILINE)
        assert len(hidden) == leaking, "it was collected, and masked"

    changed = {
        host: int(number) for host, number in re.findall(r"^(\S+) +: ok=\d+ +changed=(\d+)", said[0], re.MULTILINE)
    }
    assert changed.pop("localhost") == 1, "the archive"
    assert changed
    assert not any(changed.values()), changed

    states = dict(line.split(": ", 1) for line in texts["hosts.txt"].splitlines())
    assert states.pop(AWAY).startswith(("UNREACHABLE", "FAILED"))
    assert set(states) == {"controller", "vuls-lb", HOST, "vuls-redis", "vuls-db", "vuls-worker"}
    assert set(states.values()) == {"collected"}, states
    for place, words in {
        f"{HOST}/application.txt": '"cursor"',
        f"{HOST}/journal/vuls-web@1.service.txt": "Redis notification subscriber started",
        f"{HOST}/units.txt": "vuls-web@1.service",
        f"{HOST}/certificates.txt": "notAfter=",
        f"{HOST}/resources.txt": "MemAvailable",
        f"{HOST}/files/etc/vuls/web/settings.env": "VULS_REDIS_HOST",
        "vuls-redis/queues.txt": "LLEN scan.default\n0",
        "vuls-redis/redis.txt": "redis_version",
        "vuls-db/database.txt": "newest_event",
        "vuls-worker/application.txt": "modified_at",
        "vuls-lb/files/etc/nginx/nginx.conf": "upstream",
        "controller/certificates.txt": "notAfter=",
    }.items():
        assert words in texts[place], f"{place}: {texts[place]}"
