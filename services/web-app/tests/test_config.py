"""Settings come from variables, secrets from files."""

from pathlib import Path

import pytest

from app.config import Settings


def test_a_secret_comes_from_the_file_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "database_password").write_text("s3cr:t/@\n")
    monkeypatch.setenv("VULS_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("VULS_DATABASE_HOST", "db")
    settings = Settings()
    assert settings.database_password.get_secret_value() == "s3cr:t/@"
    assert "s3cr%3At%2F%40@/vuls?host=db&" in settings.database_url
    assert "s3cr" not in repr(settings)


def test_origins_are_a_list_without_trailing_slashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VULS_ALLOWED_ORIGINS", "https://a.example/, https://b.example:8443")
    assert Settings().allowed_origins == ("https://a.example", "https://b.example:8443")


@pytest.mark.parametrize("zone", ["../x", "UPPER", "", "a b"])
def test_a_zone_that_cannot_be_one_is_refused(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    monkeypatch.setenv("VULS_ZONE", zone)
    with pytest.raises(ValueError, match="zone"):
        Settings()


def test_each_of_several_hosts_has_the_port_and_the_one_that_takes_writes_is_asked_for() -> None:
    settings = Settings(database_host="db-1, db-2", database_port=5433)
    assert settings.database_host == "db-1,db-2"
    assert "host=db-1,db-2&port=5433,5433&target_session_attrs=read-write&" in settings.database_dsn


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"DATABASE_HOST": "db-1,"}, "must name one host, or several different ones"),
        ({"DATABASE_HOST": "db-1,db-1"}, "must name one host, or several different ones"),
        ({"DATABASE_HOST": "db-1&sslmode=disable"}, "must name one host, or several different ones"),
        ({"DATABASE_HOST": ""}, "must name one host, or several different ones"),
        ({"HEARTBEAT_SECONDS": "10", "LEASE_SECONDS": "10"}, r"lease_seconds \(10\) must be above heartbeat_seconds"),
        ({"SCAN_DEADLINE": "14400"}, r"scan_deadline \(14400\) must be below visibility_timeout \(14400\)"),
        ({"ZONE_LIMITS": '{"dmz": 0}'}, "zone_limits"),
        ({"ZONE_LIMITS": '{"No Zone": 1}'}, "zone_limits"),
        ({"HYPERVISOR_GROUP_LIMIT": "-1"}, "hypervisor_group_limit"),
    ],
)
def test_times_and_limits_that_cannot_work_are_refused(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str], sentence: str
) -> None:
    for name, value in values.items():
        monkeypatch.setenv(f"VULS_{name}", value)
    with pytest.raises(ValueError, match=sentence):
        Settings()


def test_sentinels_are_a_list_of_hosts_with_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VULS_REDIS_SENTINELS", "redis-1:26379, [fd00::2]:26380,")
    assert Settings().redis_sentinel_addresses == (("redis-1", 26379), ("fd00::2", 26380))


@pytest.mark.parametrize("value", ["redis-1", "redis-1:", "redis://redis-1:26379", "a:26379;b:26379", "a:b"])
def test_a_sentinel_without_a_port_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("VULS_REDIS_SENTINELS", value)
    with pytest.raises(ValueError, match="write redis_sentinels like redis-1:26379,redis-2:26379"):
        Settings()


def test_a_lease_is_two_heartbeats_and_limits_of_zones_are_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VULS_ZONE_LIMITS", '{"dmz": 2}')
    settings = Settings()
    assert settings.lease_seconds == 2 * settings.heartbeat_seconds
    assert settings.zone_limits == {"dmz": 2}
