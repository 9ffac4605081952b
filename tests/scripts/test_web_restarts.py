"""Web instances restart one after the other, over all web hosts, and stop where one does not get ready."""

import json
import os
import shutil
import socketserver
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from .ansible import ROOT, ansible, said

HOSTS = ("web-1", "web-2", "web-3")
# This machine has no unit of that name; what is told of the order is Ansible's.
SYSTEMCTL = """#!/bin/sh
number=${{2#vuls-web@}}
case $1 in
show) printf 'LoadState=loaded\\nActiveState=active\\n' ;;
restart)
    date "+restart $WEB_HOST:${{number%.service}} %s.%N" >>"{log}"
    case " {refused} " in *" $WEB_HOST:${{number%.service}} "*) echo it is refused >&2; exit 1 ;; esac
    ;;
esac
"""
PAUSE = 20  # seconds; Ansible itself takes some from one restart to the next


@contextmanager
def instance(name: str, path: Path, log: Path, *, away_before: bool, away_after: bool) -> Iterator[None]:
    """Answer /readyz on a Unix socket, and note who was told to be ready after its restart."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            was_restarted = f"restart {name} " in (log.read_text() if log.exists() else "")
            ready = not (away_after if was_restarted else away_before)
            if was_restarted:
                with log.open("a") as notes:
                    notes.write(f"{'ready' if ready else 'asked'} {name} {time.time()}\n")
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
    place: Path,
    *,
    instances: int = 1,
    before: Collection[str] = (),
    after: Collection[str] = (),
    refused: str = "",
    notified: Collection[str] = HOSTS,
    pause: int = 0,
) -> tuple[int, str, list[list[str]]]:
    """Run the role's end on all hosts, with settings that are other ones on some.

    Instances are away (do not get ready) `before` or `after` their restart, or are `refused` one. Returns exit status,
    output and what was done, in its order.
    """
    log = place / "log"
    shutil.copytree(ROOT / "roles/web", place / "roles/web")
    where = f"{place}/{{{{ inventory_hostname }}}}-"
    for name in ("ready", "restart", "serving"):
        tasks_of = place / f"roles/web/tasks/{name}.yml"
        assert "/run/vuls-web-" in tasks_of.read_text()
        tasks_of.write_text(tasks_of.read_text().replace("/run/vuls-web-", where))
    programs = place / "bin"
    programs.mkdir()
    for name, script in {
        "systemctl": SYSTEMCTL.format(log=log, refused=refused),
        "systemd-analyze": "#!/bin/sh\n",
        "journalctl": "#!/bin/sh\necho its last words\n",
    }.items():
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    tasks = [
        {"include_role": {"name": "web", "tasks_from": "serving"}},
        {
            "debug": {"msg": "a setting is another one"},
            "changed_when": True,
            "notify": "Restart the web instances",
            "when": f"inventory_hostname in {list(notified)}",
        },
        {"include_role": {"name": "web", "tasks_from": "run"}},
    ]
    play = {
        "hosts": "all",
        "gather_facts": False,
        "environment": {"WEB_HOST": "{{ inventory_hostname }}"},
        "vars": {"web_instances": instances, "web_ready_timeout": 1, "web_restart_pause": pause},
        "tasks": tasks,
    }
    (place / "play.yml").write_text(json.dumps([play]))
    with ExitStack() as running:
        for host in HOSTS:
            for number in range(1, instances + 1):
                name, socket = f"{host}:{number}", place / f"{host}-{number}/http.sock"
                running.enter_context(instance(name, socket, log, away_before=name in before, away_after=name in after))
        done = ansible(
            "ansible-playbook",
            *("-i", ",".join(HOSTS), "-c", "local", str(place / "play.yml")),
            ANSIBLE_ROLES_PATH=f"{place / 'roles'}:{ROOT / 'roles'}",
            HOME=os.environ.get("HOME", "/root"),
            PATH=f"{programs}:{os.environ['PATH']}",
        )
    return done.returncode, said(done), [line.split() for line in log.read_text().splitlines()] if log.exists() else []


def restarts(done: list[list[str]]) -> list[str]:
    """Return who was restarted, in this order."""
    return [who for what, who, _ in done if what == "restart"]


@pytest.mark.parametrize("instances", [1, pytest.param(2, marks=pytest.mark.long)])
def test_the_next_one_restarts_when_the_last_one_is_ready(tmp_path: Path, instances: int) -> None:
    status, output, done = restarted(tmp_path, instances=instances)
    assert status == 0, output
    assert [what for what, *_ in done] == ["restart", "ready"] * len(HOSTS) * instances


@pytest.mark.long
def test_the_next_one_waits_until_balancers_give_to_the_last_one_again(tmp_path: Path) -> None:
    status, output, done = restarted(tmp_path, pause=PAUSE)
    assert status == 0, output
    times = [float(when) for *_, when in done]
    assert all(later - before >= PAUSE - 1 for before, later in zip(times[1::2], times[2::2], strict=False))


@pytest.mark.parametrize("host", [HOSTS[0], *(pytest.param(host, marks=pytest.mark.long) for host in HOSTS[1:])])
def test_where_one_does_not_get_ready_no_other_is_restarted_on_any_host(tmp_path: Path, host: str) -> None:
    status, output, done = restarted(tmp_path, after=[f"{host}:1"])
    assert status != 0
    whose_turn = restarts(done)  # which host is the first is Ansible's to say
    assert whose_turn[-1] == f"{host}:1"
    assert len(whose_turn) == len(HOSTS) or f"{host}:1 does not serve" in output
    assert "its last words" in output


def test_typed_again_without_a_mend_no_other_is_restarted_and_the_reason_is_shown(tmp_path: Path) -> None:
    status, output, done = restarted(tmp_path, before=["web-1:1"], notified=["web-2", "web-3"])
    assert status != 0
    assert restarts(done) == []
    assert "web-1:1 does not serve" in output
    assert "its last words" in output


@pytest.mark.parametrize("away", [["web-2:1"], pytest.param(["web-1:1", "web-2:1", "web-3:1"], marks=pytest.mark.long)])
def test_those_that_do_not_serve_have_nothing_to_lose_and_get_the_mend_first(tmp_path: Path, away: list[str]) -> None:
    status, output, done = restarted(tmp_path, before=away)
    assert status == 0, output
    assert sorted(restarts(done)[: len(away)]) == away
    assert sorted(restarts(done)) == [f"{host}:1" for host in HOSTS]


@pytest.mark.long
def test_where_none_serves_one_that_does_not_come_up_keeps_no_other_from_it(tmp_path: Path) -> None:
    everybody = [f"{host}:1" for host in HOSTS]
    status, _, done = restarted(tmp_path, before=everybody, after=["web-1:1"])
    assert status != 0
    assert sorted(restarts(done)) == everybody


def test_where_systemd_refuses_the_restart_the_journal_is_shown(tmp_path: Path) -> None:
    status, output, done = restarted(tmp_path, after=["web-1:1"], refused="web-1:1")
    assert status != 0
    assert restarts(done)[-1] == "web-1:1"
    assert "its last words" in output
    assert "it is refused" in output
    assert [what for what, *_ in done].count("asked") == 1
