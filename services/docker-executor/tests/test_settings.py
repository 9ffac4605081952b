import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from executor.settings import ConfigurationError, Settings
from tests.harness import CONTAINER_UID, Deployment


def test_values_come_from_the_environment_and_empty_ones_mean_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VULS_EXECUTOR_CONTAINER_UID", str(CONTAINER_UID))
    monkeypatch.setenv("VULS_EXECUTOR_MAX_PARALLEL", "7")
    monkeypatch.setenv("VULS_EXECUTOR_SCAN_NETWORK", "")
    settings = Settings()
    assert (settings.max_parallel, settings.scan_network, settings.uid) == (7, "bridge", CONTAINER_UID)


def test_containers_run_as_the_executor_itself_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    assert Settings().uid == 4711


def test_containers_never_run_as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(ValidationError, match="never runs as root"):
        Settings()
    with pytest.raises(ValidationError, match="never runs as root"):
        Settings(container_uid=0)


def test_only_root_may_give_files_to_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(ValidationError, match="cannot give files to user 4712"):
        Settings(container_uid=4712)


@pytest.mark.parametrize(
    "values",
    [
        {"max_parallel": 0},
        {"scan_network": "--privileged"},
        {"scan_timeout": 0},
        {"database": "/var/lib/vuls.db\nPath = x"},
        {"database": "vuls.db"},
        {"state_dir": "state"},
        {"retention_hours": 0},
        {"abandon_seconds": 4},
        {"abandon_seconds": 61},
        {"min_free_mib": -1},
        {"min_free_mib": "some"},
    ],
)
def test_nonsense_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({"container_uid": CONTAINER_UID, **values})


@pytest.mark.parametrize(("content", "reason"), [(None, "cannot read"), ("short\n", "fewer than 32")])
def test_a_missing_or_short_api_key_is_refused(settings: Settings, content: str | None, reason: str) -> None:
    secrets = settings.state_dir / "secrets"
    secrets.mkdir()
    if content is not None:
        (secrets / "api_key").write_text(content)
    with pytest.raises(ConfigurationError, match=reason):
        settings.model_copy(update={"secrets_dir": secrets}).read_api_key()


def test_a_wrong_deployment_ends_with_status_2_and_a_line_that_names_it() -> None:
    deployment = Deployment(max_parallel="many")
    try:
        with pytest.raises(AssertionError, match="VULS_EXECUTOR_MAX_PARALLEL"):
            deployment.start()
        assert deployment.process is not None
        assert deployment.process.wait() == 2
    finally:
        deployment.process = None
        deployment.close()


def test_two_executors_do_not_share_a_state_directory() -> None:
    first = Deployment(engine="unix:///nowhere.sock")
    second = Deployment(engine="unix:///nowhere.sock", state_dir=first.state_dir)
    try:
        first.start()
        with pytest.raises(AssertionError, match="another executor holds"):
            second.start()
    finally:
        second.process = None
        first.close()
        second.close()


def test_instances_differ_by_state_directory(settings: Settings) -> None:
    other = settings.model_copy(update={"state_dir": Path("/elsewhere")})
    assert settings.instance != other.instance
