"""The bundle of diagnostics: no secret gets into it, and a host that does not answer is named in it."""

import base64
import hashlib
import json
import re
import tarfile
from pathlib import Path

import pytest

from .ansible import ansible, copied, said
from .rules import ROOT, plugin, settings

BUNDLE = plugin("diagnostics", "action_plugins", "diagnostics_bundle")
SECRET = "q8Zr3Lm0Xv7T"
ODD = """p'w"d $x/&ü{{ 1 }}"""
KEY = (
    "-----BEGIN OPENSSH PRIVATE KEY-----\n"
    + "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUA\n" * 3
    + "-----END OPENSSH PRIVATE KEY-----\n"
)


@pytest.mark.parametrize(
    "form",
    [
        ODD,
        json.dumps(ODD),
        json.dumps(ODD, ensure_ascii=False),
        "p%27w%22d%20%24x%2F%26%C3%BC%7B%7B%201%20%7D%7D",
        base64.b64encode(ODD.encode()).decode(),
        hashlib.sha256(ODD.encode()).hexdigest(),
        "'" + ODD.replace("'", "'\\''") + "'",
    ],
)
def test_a_known_secret_is_masked_in_every_form(form: str) -> None:
    said = BUNDLE.Mask([ODD])(f"refused: {form} is wrong")
    assert BUNDLE.MASK in said
    assert form.strip("'\"") not in said
    assert "refused: " in said
    assert " is wrong" in said


def test_each_line_of_a_known_key_is_masked() -> None:
    assert KEY.splitlines()[1] not in BUNDLE.Mask([KEY])(f"cut off: {KEY.splitlines()[1]}")


@pytest.mark.parametrize(
    "line",
    [
        f"VULS_DATABASE_PASSWORD='{SECRET}'",
        f'"api_key": "{SECRET}"',
        f"password: {SECRET} and more",
        f'password: "a\\"{SECRET}"',
        f"requirepass {SECRET}",
        f"masterauth {SECRET}",
        f"sentinel auth-pass vuls {SECRET}",
        f"repo1-cipher-pass={SECRET}",
        f"auth_pass {SECRET}",
        f"user web on >{SECRET} ~*",
        f"user web on #{hashlib.sha256(SECRET.encode()).hexdigest()} ~*",
        f"rediss://web:{SECRET}@redis-1:6379/0",
        f"Authorization: Bearer {SECRET}",
        f"tried bearer {SECRET}",
        f"Cookie: __Host-vuls_session={SECRET}",
        f"vuls_web:SCRAM-SHA-256$4096:{SECRET}",
        f"$argon2id$v=19$m=65536,t=3,p=4${SECRET}",
        KEY,
        KEY[:80],
    ],
)
def test_what_looks_like_a_secret_is_masked(line: str) -> None:
    said = BUNDLE.Mask([])(f"before\n{line}\nafter\n")
    assert BUNDLE.MASK in said
    for hidden in (SECRET, hashlib.sha256(SECRET.encode()).hexdigest(), KEY.splitlines()[1][:20]):
        assert hidden not in said
    assert said.startswith("before\n")


@pytest.mark.parametrize(
    "line",
    [
        "VULS_SECRETS_DIR='/etc/vuls/web/secrets'",
        "ssl_certificate_key /etc/vuls/pki/web-1.key;",
        "2026-11-29T20:00:01 web-1 gunicorn[7]: password authentication failed for user vuls_web",
        "GET /api/tasks 200",
        "#log_lock_waits = off  # log lock waits >= deadlock_timeout",
    ],
)
def test_what_is_no_secret_stays(line: str) -> None:
    assert BUNDLE.Mask([SECRET, "", "abc"])(line) == line


@pytest.mark.parametrize(
    ("name", "inside"),
    [("web-1/../../etc/passwd", "web-1/etc/passwd"), ("web-1//files/etc/a b", "web-1/files/etc/a_b")],
)
def test_a_name_that_a_host_made_up_stays_within_the_archive(name: str, inside: str) -> None:
    assert BUNDLE.safe(name) == inside


def nowhere(tmp_path: Path) -> Path:
    """Return the local inventory with hosts that are not there."""
    copy = copied("local", tmp_path)
    hosts = copy / "hosts.yml"
    text = re.sub(r"vuls-(\w+(?:-\d)?):", r"nowhere-\1:", hosts.read_text())
    connection = "ansible_connection: ssh\n        ansible_host: 127.0.0.1\n        ansible_port: 1"
    hosts.write_text(text.replace("ansible_connection: community.docker.docker", connection))
    return copy


def test_hosts_that_do_not_answer_are_named_in_the_bundle(tmp_path: Path) -> None:
    state = tmp_path / "state"
    (state / "secrets").mkdir(parents=True)
    (state / "secrets/redis_operator").write_text(SECRET)
    run = ("ansible-playbook", "-i", str(nowhere(tmp_path)), "playbooks/diagnostics.yml")
    done = ansible(*run, VULS_STATE_DIR=str(state))
    assert done.returncode == 0, said(done)
    assert SECRET not in said(done)
    (bundle,) = (state / "diagnostics").glob("*.tar.gz")
    assert bundle.stat().st_mode & 0o077 == 0
    with tarfile.open(bundle) as archive:
        texts = {
            member.name.partition("/")[2]: file.read().decode()
            for member in archive
            if (file := archive.extractfile(member)) is not None
        }
    states = dict(line.split(": ", 1) for line in texts["hosts.txt"].splitlines())
    assert states.pop("controller") == "collected"
    assert set(states) == {f"nowhere-{name}" for name in ("lb", "web-1", "web-2", "redis", "db", "worker")}
    assert all(line.startswith("UNREACHABLE: ") for line in states.values()), states
    assert "ansible" in texts["controller/versions.txt"]


def test_without_the_controller_nothing_is_collected(tmp_path: Path) -> None:
    run = ("ansible-playbook", "-i", str(nowhere(tmp_path)), "playbooks/diagnostics.yml", "--limit", "nowhere-db")
    refused = ansible(*run, VULS_STATE_DIR=str(tmp_path / "state"))
    assert refused.returncode != 0
    assert "--limit leaves out localhost" in said(refused)
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(("inventory", "host"), [("single", "vuls"), ("production.example", "scan-dmz-1")])
def test_the_worker_of_a_scan_host_is_asked_by_its_own_command(tmp_path: Path, inventory: str, host: str) -> None:
    """On a host that has web instances too, `vulsctl` asks those."""
    message = json.dumps({"msg": "command: {{ worker_operator_command }}"})
    asked = ("ansible", "-i", str(copied(inventory, tmp_path)), host, "-c", "local", "-m", "debug", "-a", message)
    found = re.search(r'"command: (/[^"]+)"', ansible(*asked, "-o").stdout)
    assert found is not None
    command = found[1]
    told = settings(ROOT / "roles/diagnostics/vars/main.yml")["__diagnostics_commands"]
    argv = [Path(command).name, "status", "--json"]
    assert {"file": "application.txt", "argv": argv, "path": command} in told
