import tomllib

import pytest

from executor import vuls_config
from executor.jobs import ScanType
from executor.targets import Target
from tests.harness import RECORDINGS

TARGET = Target(address="192.0.2.12", port=22, user="vuls")


def test_the_configuration_is_the_recorded_one() -> None:
    recorded = tomllib.loads((RECORDINGS / "config.toml").read_text())
    ours = tomllib.loads(vuls_config.config_toml("t1", TARGET, ScanType.FAST, "vuls.db", with_key=True))
    assert ours["servers"] == {"t1": recorded["servers"]["t1"]}
    assert ours["default"] == recorded["default"]
    assert ours["vuls2"] == {"Path": "/db/vuls.db", "SkipUpdate": True}


def test_the_report_knows_nothing_of_the_key() -> None:
    ours = tomllib.loads(vuls_config.config_toml("t1", TARGET, ScanType.DEEP, "demo-db", with_key=False))
    assert ours["servers"]["t1"] == {"host": "192.0.2.12", "port": "22", "user": "vuls"}
    assert ours["default"]["scanMode"] == ["deep"]


def test_ssh_reads_the_recorded_settings_and_refuses_unknown_keys() -> None:
    ours = set(vuls_config.ssh_config(TARGET).splitlines())
    recorded = set((RECORDINGS / "ssh_config").read_text().splitlines())
    assert recorded - ours == {"  UserKnownHostsFile /etc/vuls/home/.ssh/known_hosts"}
    assert "  StrictHostKeyChecking yes" in ours


@pytest.mark.parametrize(("limit", "detection", "scan"), [(7200, 300, 6480), (200, 180, 180), (1, 1, 1)])
def test_vulss_own_limits_come_before_the_executors(limit: int, detection: int, scan: int) -> None:
    command = vuls_config.scan_command("t1", limit)
    assert f"-timeout={detection}" in command
    assert f"-timeout-scan={scan}" in command
    assert command[-1] == "t1"


def test_the_generated_passwd_gives_the_user_a_home() -> None:
    assert "vuls:x:10001:65534:Vuls:/home/vuls:/usr/sbin/nologin\n" in vuls_config.passwd(10001)
