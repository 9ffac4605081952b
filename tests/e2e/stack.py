"""The deployed stack as the tests see it: its hosts, its addresses, and how to act on them."""

import hashlib
import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tests import environment

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
LOCAL = ROOT / ".local"
CA = LOCAL / "ca.crt"
PORT = int(os.environ.get("VULS_HTTPS_PORT", "8443"))
ORIGIN = f"https://localhost:{PORT}"
WEB_HOSTS = ("vuls-web-1", "vuls-web-2")
INSTANCES = tuple(f"{host}:{number}" for host in WEB_HOSTS for number in (1, 2))
SCHEDULERS = WEB_HOSTS
ALL_HOSTS = ("vuls-lb", *WEB_HOSTS, "vuls-redis", "vuls-db", "vuls-worker", "vuls-target-1", "vuls-target-2")
_GET_METRICS = """
import socket, sys
with socket.socket(socket.AF_UNIX) as admin:
    admin.connect(sys.argv[1])
    admin.sendall(b"GET /metrics HTTP/1.1\\r\\nHost: admin\\r\\nConnection: close\\r\\n\\r\\n")
    print(admin.makefile().read())
"""


def run(
    *argv: str, timeout: float = 60, stdin: str | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program here and return what it printed; its exit status is the caller's to judge."""
    return subprocess.run(
        argv, capture_output=True, text=True, timeout=timeout, input=stdin, check=False, cwd=ROOT, env=env
    )


def ansible_playbook(
    *arguments: str, timeout: float = 900, inventory: str = "inventories/local"
) -> subprocess.CompletedProcess[str]:
    """Run a playbook against an inventory, with the settings of the checkout and nobody else's."""
    program = str(ROOT / ".venv/bin/ansible-playbook")
    return run(program, "-i", inventory, *arguments, timeout=timeout, env=environment.of_the_checkout())


def on(
    host: str, *argv: str, timeout: float = 60, user: str | None = None, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program on a host of the stack."""
    options = [*(["-u", user] if user else []), *(["-i"] if stdin is not None else [])]
    return run("docker", "exec", *options, host, *argv, timeout=timeout, stdin=stdin)


def must(result: subprocess.CompletedProcess[str]) -> str:
    """Return what a program printed, or fail with all of it."""
    assert result.returncode == 0, f"{result.args} ended with {result.returncode}:\n{result.stdout}\n{result.stderr}"
    return result.stdout


def shell(host: str, script: str, timeout: float = 60) -> str:
    """Run a shell script on a host and return what it printed; fails when the script does."""
    return must(on(host, "sh", "-c", script, timeout=timeout))


def sql(statement: str) -> str:
    """Run a statement as PostgreSQL's superuser and return the unaligned rows."""
    return must(on("vuls-db", "psql", "-XAtq", "-d", "vuls", "-c", statement, user="postgres")).strip()


def wait_until(probe: Callable[[], T | None], *, timeout: float, what: str, interval: float = 0.2) -> T:
    """Call `probe` until it returns something true and return that; fail with `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(interval)


def note(story: str, what: str, value: float) -> None:
    """Print a figure that a story has measured."""
    sys.stdout.write(f"\n{story}: {what}: {value:.1f}\n")


def variable(host: str, name: str, *inventories: str) -> Any:
    """Return what the inventory (without any: the local one) says of a host, with everything in it worked out."""
    program = str(ROOT / ".venv/bin/ansible")
    given = [part for one in inventories or ("inventories/local",) for part in ("-i", one)]
    line = [program, *given, host, "-m", "ansible.builtin.debug", "-a", f"var={name}"]
    said = must(run(*line, env=environment.of_the_checkout(ANSIBLE_CALLBACK_RESULT_FORMAT="json")))
    return json.loads(said[said.index("{") :])[name]


def address(host: str) -> str:
    """Return a host's address in the stack's network."""
    form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    return must(run("docker", "inspect", "--format", form, host)).strip()


def metrics(web: str, number: int) -> str:
    """Return what an instance answers to `GET /metrics` on its root-only socket. The host has no curl."""
    return must(on(web, "python3", "-c", _GET_METRICS, f"/run/vuls-web-{number}/admin/admin.sock"))


def admin_password() -> str:
    """Return the first administrator's password, which the deployment wrote."""
    return (LOCAL / "admin-password").read_text().strip()


def client(**options: Any) -> httpx.Client:
    """Return an HTTP client that trusts the stack's own CA and nothing else."""
    return httpx.Client(
        base_url=ORIGIN,
        verify=ssl.create_default_context(cafile=str(CA)),
        headers={"Origin": ORIGIN},
        timeout=20,
        **options,
    )


def sign_in(name: str, password: str) -> httpx.Client:
    """Return a client with a session."""
    session = client()
    answer = session.post("/api/auth/login", json={"username": name, "password": password})
    assert answer.status_code == 200, answer.text
    return session


def start_instance(instance: str) -> None:
    """Start a web instance anew and return when the balancer sends to it again those whose cookie names it.

    Until then it holds an instance that failed for lost, and clients of that instance go elsewhere.
    """
    host, _, number = instance.partition(":")
    must(on(host, "systemctl", "restart", f"vuls-web@{number}"))
    route = {"__Host-vuls_route": hashlib.sha256(instance.encode()).hexdigest()[:12]}

    def answers() -> bool:
        with client(cookies=route) as visitor:
            answer = visitor.get("/readyz")
        return answer.is_success and answer.json()["instance"] == instance

    wait_until(answers, timeout=60, what=f"{instance} answers those whose cookie names it")


def journal(host: str, unit: str, since: str) -> str:
    """Return a unit's log lines since a time that journalctl understands."""
    return must(on(host, "journalctl", "--no-pager", "-o", "cat", "-u", unit, "--since", since))


def now(host: str) -> str:
    """Return a host's clock in the form that `journal` takes."""
    return must(on(host, "date", "+%Y-%m-%d %H:%M:%S.%6N")).strip()


def start_run(session: httpx.Client, task_id: int) -> dict[str, Any]:
    """Click: ask for a run of a task and return it."""
    answer = session.post(f"/api/scheduled-tasks/{task_id}/run")
    assert answer.status_code == 202, answer.text
    result: dict[str, Any] = answer.json()
    return result


def finished(session: httpx.Client, run_id: int, timeout: float = 120) -> dict[str, Any]:
    """Wait for a run's end and return it."""

    def probe() -> dict[str, Any] | None:
        answer: dict[str, Any] = session.get(f"/api/runs/{run_id}").raise_for_status().json()
        return answer if answer["status"] in {"success", "failed", "cancelled"} else None

    return wait_until(probe, timeout=timeout, what=f"the end of run {run_id}", interval=0.5)
