"""What the hosts look like after the deployment."""

import pytest
import testinfra
from testinfra.host import Host

from . import stack

UNITS = {
    "vuls-lb": ["nginx"],
    "vuls-web-1": ["nginx", "vuls-web@1", "vuls-web@2", "vuls-scheduler"],
    "vuls-web-2": ["nginx", "vuls-web@1", "vuls-web@2", "vuls-scheduler"],
    "vuls-redis": ["redis-server"],
    "vuls-db": ["postgresql@{version}-main"],
    "vuls-worker": ["docker", "vuls-executor", "vuls-worker@default"],
    "vuls-target-1": ["ssh"],
    "vuls-target-2": ["ssh"],
}
SECRETS = {
    "vuls-web-1": "/etc/vuls/web/secrets",
    "vuls-worker": "/etc/vuls/worker-default/secrets",
}


def host(name: str) -> Host:
    return testinfra.get_host(f"docker://{name}")


@pytest.mark.parametrize(("name", "unit"), [(name, unit) for name, units in UNITS.items() for unit in units])
def test_a_unit_runs_and_starts_at_boot(name: str, unit: str) -> None:
    service = host(name).service(unit.format(version=stack.shell("vuls-db", "ls /etc/postgresql").strip()))
    assert service.is_running, stack.on(name, "journalctl", "--no-pager", "-n", "50", "-u", unit).stdout
    assert service.is_enabled


@pytest.mark.parametrize("name", UNITS)
def test_no_unit_of_a_host_has_failed(name: str) -> None:
    assert not stack.on(name, "systemctl", "--failed", "--no-legend", "--plain").stdout.strip()


@pytest.mark.parametrize("web", stack.WEB_HOSTS)
@pytest.mark.parametrize("number", [1, 2])
def test_an_instances_sockets_are_for_the_proxy_and_for_root(web: str, number: int) -> None:
    folder, public = host(web).file(f"/run/vuls-web-{number}"), host(web).file(f"/run/vuls-web-{number}/http.sock")
    assert (folder.mode, folder.group) == (0o750, "vuls-proxy")
    assert (public.mode, public.group) == (0o660, "vuls-proxy")
    private = host(web).file(f"/run/vuls-web-{number}/admin")
    assert private.mode == 0o700
    assert host(web).file(f"/run/vuls-web-{number}/admin/admin.sock").mode == 0o600
    assert "vuls_" in stack.metrics(web, number)


@pytest.mark.parametrize(("name", "folder"), SECRETS.items())
def test_secrets_belong_to_root_and_are_read_by_their_group_only(name: str, folder: str) -> None:
    listing = stack.shell(name, f"find {folder} -type f -printf '%u %m %p\\n'").splitlines()
    assert listing
    for line in listing:
        owner, mode, path = line.split()
        assert (owner, mode) == ("root", "640"), path


def test_only_the_executor_is_in_the_docker_group() -> None:
    assert host("vuls-worker").group("docker").members == ["vuls-executor"]


@pytest.mark.parametrize("name", ["vuls-web-1", "vuls-web-2", "vuls-worker", "vuls-redis", "vuls-db"])
def test_no_secret_is_on_a_command_line_or_in_the_journal(name: str) -> None:
    secrets = [path.read_text().strip() for path in (stack.LOCAL / "secrets").rglob("*") if path.is_file()]
    secrets = [secret for secret in secrets if 16 <= len(secret) <= 200 and "\n" not in secret] + [
        stack.admin_password()
    ]
    assert len(secrets) > 3
    # The tests of diagnostics put secrets there on purpose, in the name of a unit of their own.
    journal = "journalctl --no-pager -o with-unit | grep -v ' vuls-e2e-diagnostics.service\\['"
    seen = stack.shell(name, f"cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '; {journal}", timeout=120)
    assert not [secret[:3] for secret in secrets if secret in seen]


def test_the_metrics_are_not_to_be_had_through_the_balancer() -> None:
    with stack.client() as visitor:
        for path in ("/metrics", "/status", "/drain"):
            assert visitor.get(path).status_code == 404
