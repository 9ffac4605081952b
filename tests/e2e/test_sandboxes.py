"""What each unit could still do when somebody has taken it over, as systemd-analyze counts it (0 to 10)."""

import re

import pytest

from . import stack

LIMIT, WITH_DOCKER = 2.5, 5.0
# Every host has these; what else it runs is the bundle's, and in the tables below.
SYSTEMS_OWN = re.compile(
    r"^(systemd-|dbus|getty@|console-getty|container-getty@|user@|user-runtime-dir@|kmod-|modprobe@|vuls-live-|ssh|e2scrub"
    r"|apt-|dpkg-|man-db|logrotate|fstrim|ifupdown|networking|ldconfig|postgresql\.service)"
)
UNITS = {
    "vuls-lb": {"nginx"},
    "vuls-web-1": {"nginx", "vuls-web@1", "vuls-web@2", "vuls-scheduler"},
    "vuls-web-2": {"nginx", "vuls-web@1", "vuls-web@2", "vuls-scheduler"},
    "vuls-redis": {"redis-server"},
    "vuls-db": {"postgresql@{version}-main"},
    "vuls-worker": {"vuls-worker@default", "vuls-executor", "docker", "containerd"},
}
# The engine and its containerd make other programs' sandboxes out of the host's namespaces, mounts and devices, and
# need these (docs/adr/0012-sandboxes-with-a-limit.md). Nothing is taken off for a user namespace: they never have one.
IS_DOCKER = {"docker", "containerd"}
# The executor may ask them for anything, so what it could do by itself counts less.
TOUCHES_DOCKER = {"vuls-executor", *IS_DOCKER}


def running(host: str) -> set[str]:
    """Return the services that run on a host, or ran and hold something, and are not the system's own."""
    said = stack.shell(host, "systemctl list-units --plain --no-legend --type=service --state=active")
    names = {line.split()[0].removesuffix(".service") for line in said.splitlines()}
    # With the firewall off, which is how the inventory has it, there is no such unit; test_flows.py looks at it.
    names.discard("vuls-firewall")
    return {name for name in names if not SYSTEMS_OWN.match(f"{name}.service")}


def expected(host: str) -> set[str]:
    version = stack.shell("vuls-db", "ls /etc/postgresql").strip()
    sentinel = {"redis-sentinel"} if "redis" in host and stack.variable(host, "vuls_redis_sentinels") else set()
    return {name.format(version=version) for name in UNITS[host]} | sentinel


def exposure(host: str, unit: str) -> tuple[float, str]:
    """Return a unit's exposure, less the part of a user namespace (these hosts allow none), and the worst of why."""
    analyze = ("env", "LANG=C.UTF-8", "systemd-analyze", "security", "--no-pager")
    said = stack.must(stack.on(host, *analyze, f"{unit}.service"))
    total = float(re.search(r"Overall exposure level for .*: ([\d.]+)", said)[1])  # type: ignore[index]
    missing = re.search(r"^\S*\s*PrivateUsers=.*\s([\d.]+)\s*$", said, re.MULTILINE)
    worst = [line for line in said.splitlines() if re.search(r"\s0\.[1-9]\s*$", line)]
    absent = float(missing[1]) if missing and unit not in IS_DOCKER else 0.0
    return round(total - absent, 1), "\n".join(worst)


@pytest.mark.parametrize("host", UNITS)
def test_every_unit_of_a_host_is_known_and_shut_in(host: str) -> None:
    units = running(host)
    assert units == expected(host)
    for unit in sorted(units):
        level, why = exposure(host, unit)
        assert level <= (WITH_DOCKER if unit in TOUCHES_DOCKER else LIMIT), f"{unit}: {level}\n{why}"


def test_only_the_executor_may_ask_the_engine() -> None:
    members = stack.shell("vuls-worker", "getent group docker").strip().rpartition(":")[2].split(",")
    assert set(filter(None, members)) <= {"vuls-executor"}
    assert stack.shell("vuls-worker", "stat -c '%a %U %G' /run/docker.sock").split() == ["660", "root", "docker"]
    assert not [line for line in stack.shell("vuls-worker", "ss -Hltnp").splitlines() if "dockerd" in line]


def test_a_container_outlives_its_engine_with_files_and_network() -> None:
    """They are mounted in the engine's own namespace only, so the next engine has to find the way back into it."""
    image, program = stack.variable("vuls-worker", "vuls_image"), "echo before; sleep 15; echo after; exit 7"
    options = "--detach --user 0 --network bridge --entrypoint sh"
    container = stack.shell("vuls-worker", f"docker run {options} {image} -c '{program}'").strip()
    try:
        stack.shell("vuls-worker", "systemctl restart containerd docker")
        stack.shell("vuls-worker", f"docker exec {container} sh -c 'echo >/file && test -e /sys/class/net/eth0'")
        assert stack.shell("vuls-worker", f"docker wait {container}").strip() == "7"
        assert stack.shell("vuls-worker", f"docker logs {container}").split() == ["before", "after"]
    finally:
        stack.shell("vuls-worker", f"docker rm --force {container}")
    engine, containerd, host = (
        stack.shell("vuls-worker", f"readlink /proc/{process}/ns/mnt")
        for process in ("$(pidof dockerd)", "$(pidof containerd)", "1")
    )
    assert engine == containerd != host
