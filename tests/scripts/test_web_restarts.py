"""Web instances restart one after the other, over all web hosts, and stop where one does not get ready."""

import json
import os
import shutil
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from .ansible import ROOT, ansible, said

HOSTS = ("web-1", "web-2", "web-3")
# This machine has no unit of that name; what is told of the order is Ansible's.
SYSTEMCTL = """#!/bin/sh
case $1 in
show) printf 'LoadState=loaded\\nActiveState=active\\n' ;;
restart) date '+restart %s.%N' >>"{log}" ;;
esac
"""
PAUSE = 3


@contextmanager
def instance(path: Path, log: Path, *, ready: bool) -> Iterator[None]:
    """Answer /readyz on a Unix socket, and note that somebody was told to be ready."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with log.open("a") as notes:
                notes.write(f"{'ready' if ready else 'asked'} {time.time()}\n")
            self.send_response(200 if ready else 503)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def address_string(self) -> str:
            return "socket"

        def log_message(self, *_: object) -> None:
            pass

    path.parent.mkdir(parents=True)
    with socketserver.ThreadingUnixStreamServer(str(path), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield
        server.shutdown()
        thread.join()


def restarted(
    place: Path, *, instances: int, never_ready: str = "", pause: int = 0
) -> tuple[int, str, list[list[str]]]:
    """Notify the role's handler on all hosts; return exit status, output and what was done, in its order."""
    log = place / "log"
    shutil.copytree(ROOT / "roles/web", place / "roles/web")
    (place / "roles/web/tasks/nothing.yml").write_text("[]\n")
    ready = place / "roles/web/tasks/ready.yml"
    where = f"{place}/{{{{ inventory_hostname }}}}-"
    assert "/run/vuls-web-" in ready.read_text()
    ready.write_text(ready.read_text().replace("/run/vuls-web-", where))
    programs = place / "bin"
    programs.mkdir()
    for name, script in {
        "systemctl": SYSTEMCTL.format(log=log),
        "systemd-analyze": "#!/bin/sh\n",
        "journalctl": "#!/bin/sh\necho its last words\n",
    }.items():
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    tasks = [
        {"include_role": {"name": "web", "tasks_from": "nothing"}},
        {"debug": {"msg": "a setting is another one"}, "changed_when": True, "notify": "Restart the web instances"},
    ]
    given = {"web_instances": instances, "web_ready_timeout": 1, "web_restart_pause": pause}
    (place / "play.yml").write_text(
        json.dumps([{"hosts": "all", "gather_facts": False, "vars": given, "tasks": tasks}])
    )
    with ExitStack() as running:
        for host in HOSTS:
            for number in range(1, instances + 1):
                socket = place / f"{host}-{number}/http.sock"
                running.enter_context(instance(socket, log, ready=f"{host}:{number}" != never_ready))
        done = ansible(
            "ansible-playbook",
            *("-i", ",".join(HOSTS), "-c", "local", str(place / "play.yml")),
            ANSIBLE_ROLES_PATH=f"{place / 'roles'}:{ROOT / 'roles'}",
            HOME=os.environ.get("HOME", "/root"),
            PATH=f"{programs}:{os.environ['PATH']}",
        )
    return done.returncode, said(done), [line.split() for line in log.read_text().splitlines()]


@pytest.mark.parametrize("instances", [1, pytest.param(2, marks=pytest.mark.long)])
def test_the_next_one_restarts_when_the_last_one_is_ready(tmp_path: Path, instances: int) -> None:
    status, output, done = restarted(tmp_path, instances=instances)
    assert status == 0, output
    assert [what for what, _ in done] == ["restart", "ready"] * len(HOSTS) * instances


@pytest.mark.long
def test_the_next_one_waits_until_balancers_give_to_the_last_one_again(tmp_path: Path) -> None:
    status, output, done = restarted(tmp_path, instances=1, pause=PAUSE)
    assert status == 0, output
    times = [float(when) for _, when in done]
    assert all(later - before >= PAUSE - 1 for before, later in zip(times[1::2], times[2::2], strict=False))


def test_where_one_does_not_get_ready_no_other_is_restarted_on_any_host(tmp_path: Path) -> None:
    for host in HOSTS:  # which host is the first is Ansible's to say
        place = tmp_path / host
        place.mkdir()
        status, output, done = restarted(place, instances=1, never_ready=f"{host}:1")
        assert status != 0
        whats = [what for what, _ in done]
        assert whats[-1] == "asked"
        assert whats.count("restart") == whats.count("ready") + 1
        if whats.count("restart") < len(HOSTS):
            assert f"{host}:1 did not come back from its restart" in output
        assert "its last words" in output
