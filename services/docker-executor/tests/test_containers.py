from dataclasses import replace

from executor import containers
from executor.jobs import Kind, Step
from executor.settings import Settings
from tests.test_workspace import a_job


def mounts(settings: Settings, step: Step) -> dict[str, bool]:
    return {m["Target"]: m["ReadOnly"] for m in containers.spec(settings, a_job(), step)["mounts"]}


def test_both_containers_have_no_more_rights_than_they_need(settings: Settings) -> None:
    for step in Step:
        spec = containers.spec(settings, a_job(), step)
        assert spec["user"] == f"{settings.uid}:65534"
        assert (spec["read_only"], spec["init"], spec["cap_drop"]) == (True, True, ["ALL"])
        assert spec["security_opt"] == ["no-new-privileges"]
        assert spec["mem_limit"] == spec["memswap_limit"] == 1024 * 1024 * 1024
        assert spec["pids_limit"] == 256
        assert spec["nano_cpus"] == 1_000_000_000
        assert spec["image"] == settings.image
        assert not {"privileged", "cap_add", "devices", "volumes", "ports", "pid_mode"} & set(spec)


def test_the_scan_sees_the_network_and_the_key_but_no_database(settings: Settings) -> None:
    settings.database.touch()
    assert containers.spec(settings, a_job(), Step.SCAN)["network_mode"] == "bridge"
    assert mounts(settings, Step.SCAN) == {"/etc/vuls": True, "/etc/passwd": True, "/job": False}


def test_the_report_has_no_network_and_may_not_write_the_database(settings: Settings) -> None:
    settings.database.touch()
    spec = containers.spec(settings, a_job(), Step.REPORT)
    assert spec["network_mode"] == "none"
    assert mounts(settings, Step.REPORT) == {
        "/etc/vuls": True,
        "/etc/passwd": True,
        "/job": False,
        "/db/vuls.db": True,
    }
    assert {m["Source"] for m in spec["mounts"] if m["Target"] == "/etc/vuls"} == {
        str(settings.jobs_dir / "run-1" / "report")
    }


def test_a_missing_database_is_left_for_vuls_to_tell(settings: Settings) -> None:
    assert "/db/vuls.db" not in mounts(settings, Step.REPORT)


def test_labels_name_the_job_the_step_and_the_executor(settings: Settings) -> None:
    assert containers.labels(settings, "run-1", Step.SCAN) == {
        "vuls-live.job": "run-1",
        "vuls-live.step": "scan",
        "vuls-live.role": "executor",
        "vuls-live.executor": settings.instance,
    }
    test_stack = settings.model_copy(update={"stack": "test"})
    assert containers.labels(test_stack, "run-1", Step.SCAN)["vuls-live.stack"] == "test"


def test_a_check_only_differs_from_a_scan_in_its_command(settings: Settings) -> None:
    check = replace(a_job(), kind=Kind.CHECK)
    scan_spec, check_spec = (containers.spec(settings, job, Step.SCAN) for job in (a_job(), check))
    command = check_spec.pop("command")
    assert (command[0], command[-1]) == ("configtest", "web-1")
    assert scan_spec.pop("command")[0] == "scan"
    assert check_spec == scan_spec
    assert containers.scan_limit(settings, check) == 120 < containers.scan_limit(settings, a_job())
