"""The deployment's hosts and tasks are applied, and applied again without a change."""

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import select

from app.db.inventory import Inventory, InventoryError, apply_inventory
from app.db.models import Host, Run, ScheduledTask
from app.db.runs import cancel_run, create_run
from app.db.tasks import create_task, task_json
from app.domain.schedule import BadScheduleError
from tests.conftest import Sessions

Maker = Callable[..., Sessions]
HOST: dict[str, Any] = {
    "id": 1,
    "name": "vuls-target-1",
    "address": "vuls-target-1",
    "port": 22,
    "zone": "default",
    "groups": ["lab", "all"],
}
TASK: dict[str, Any] = {"id": 1, "name": "Scan vuls-target-1", "host": "vuls-target-1", "scan_type": "fast"}
LOCAL: dict[str, Any] = {"hosts": [HOST], "tasks": [TASK]}


def apply(sessions: Sessions, document: dict[str, Any]) -> dict[str, Any]:
    with sessions.begin() as session:
        return apply_inventory(session, Inventory.model_validate(document))


def test_the_local_inventory_is_applied_once(sessions_as: Maker) -> None:
    web = sessions_as("web")
    first = apply(web, LOCAL)
    assert first == {
        "changed": True,
        "hosts": ["vuls-target-1"],
        "tasks": ["Scan vuls-target-1"],
        "groups": ["all", "lab"],
        "disabled_tasks": [],
        "enabled_tasks": [],
    }
    assert apply(web, LOCAL) == first | {"changed": False, "hosts": [], "tasks": [], "groups": []}
    with web() as session:
        host, task = session.get_one(Host, 1), session.get_one(ScheduledTask, 1)
        assert [group.name for group in host.groups] == ["all", "lab"]
        assert (task.host_id, task.cron, task.next_due_at) == (1, None, None)


@pytest.mark.parametrize(
    ("change", "name", "value"),
    [
        ({"address": "192.0.2.1"}, "address", "192.0.2.1"),
        ({"port": 2222}, "port", 2222),
        ({"zone": "other"}, "zone", "other"),
        ({"hypervisor_group": "rack-7"}, "hypervisor_group", "rack-7"),
        ({"name": "renamed"}, "name", "renamed"),
    ],
)
def test_a_changed_host_is_updated_in_place(sessions_as: Maker, change: dict[str, Any], name: str, value: Any) -> None:
    web = sessions_as("web")
    apply(web, {"hosts": [HOST]})
    assert apply(web, {"hosts": [HOST | change]})["changed"]
    with web() as session:
        assert getattr(session.get_one(Host, 1), name) == value


def test_groups_are_exactly_those_named(sessions_as: Maker) -> None:
    web = sessions_as("web")
    apply(web, LOCAL)
    assert apply(web, {"hosts": [HOST | {"groups": ["all"]}]})["changed"]
    with web() as session:
        assert [group.name for group in session.get_one(Host, 1).groups] == ["all"]


def test_a_schedule_gives_a_due_time_and_null_takes_it_away(sessions_as: Maker) -> None:
    web = sessions_as("web")
    apply(web, {"hosts": [HOST], "tasks": [TASK | {"cron": "0 3 * * *", "timezone": "Europe/Berlin"}]})
    with web() as session:
        task = task_json(session.get_one(ScheduledTask, 1))
    assert (task["cron"], task["timezone"], task["next_due_at"][-1]) == ("0 3 * * *", "Europe/Berlin", "Z")
    assert not apply(web, LOCAL)["changed"]
    assert apply(web, {"tasks": [TASK | {"cron": None}]})["changed"]
    with web() as session:
        assert session.get_one(ScheduledTask, 1).next_due_at is None


def test_a_time_limit_is_set_kept_and_taken_away(sessions_as: Maker) -> None:
    web = sessions_as("web")
    apply(web, {"hosts": [HOST], "tasks": [TASK | {"time_limit_minutes": 30}]})
    assert not apply(web, LOCAL)["changed"]
    with web() as session:
        assert session.get_one(ScheduledTask, 1).time_limit_minutes == 30
    assert apply(web, {"tasks": [TASK | {"time_limit_minutes": None}]})["changed"]
    with web() as session:
        assert session.get_one(ScheduledTask, 1).time_limit_minutes is None


@pytest.mark.parametrize("minutes", [0, 1441, 1.5, "soon"])
def test_a_time_limit_that_cannot_be_is_refused(minutes: object) -> None:
    with pytest.raises(ValidationError, match="time_limit_minutes"):
        Inventory.model_validate({"hosts": [HOST], "tasks": [TASK | {"time_limit_minutes": minutes}]})


def test_without_ids_rows_are_known_by_their_names(sessions_as: Maker) -> None:
    web = sessions_as("web")
    document = {"hosts": [{"name": "web-7", "address": "192.0.2.7"}], "tasks": [{"name": "Nightly", "host": "web-7"}]}
    assert apply(web, document)["changed"]
    assert not apply(web, document)["changed"]
    with web() as session:
        assert all(row_id >= 1_000_000 for row_id in session.scalars(select(Host.id)))


def test_what_people_made_is_left_alone(sessions_as: Maker) -> None:
    web = sessions_as("web")
    apply(web, LOCAL)
    with web.begin() as session:
        own = create_task(session, name="Mine", host=session.get_one(Host, 1), scan_type="deep", cron="* * * * *")
    assert not apply(web, LOCAL)["changed"]
    with web() as session:
        assert session.get_one(ScheduledTask, own.id).cron == "* * * * *"


def test_a_removed_host_keeps_its_history_but_fires_no_more(sessions_as: Maker) -> None:
    web = sessions_as("web")
    apply(web, {"hosts": [HOST], "tasks": [TASK | {"cron": "* * * * *"}]})
    removal = {"remove_hosts": ["vuls-target-1", "never-heard-of"]}
    assert apply(web, removal)["disabled_tasks"] == ["Scan vuls-target-1"]
    assert not apply(web, removal)["changed"]
    with web() as session:
        task = session.get_one(ScheduledTask, 1)
        assert (task.enabled, task.next_due_at, task.cron) == (False, None, "* * * * *")


def test_a_host_that_comes_back_fires_again_what_its_removal_paused(sessions_as: Maker) -> None:
    web = sessions_as("web")
    inventory = {"hosts": [HOST], "tasks": [TASK | {"cron": "* * * * *"}]}
    apply(web, inventory)
    with web.begin() as session:
        paused = create_task(
            session, name="Mine", host=session.get_one(Host, 1), scan_type="deep", cron="* * * * *", enabled=False
        ).id
    apply(web, {"remove_hosts": ["vuls-target-1"]})
    assert apply(web, inventory)["enabled_tasks"] == ["Scan vuls-target-1"]
    assert not apply(web, inventory)["changed"]
    with web() as session:
        task = session.get_one(ScheduledTask, 1)
        assert task.enabled
        assert task.next_due_at is not None
        assert not session.get_one(ScheduledTask, paused).enabled


def test_queued_runs_move_with_their_host_to_another_zone(sessions_as: Maker) -> None:
    web = sessions_as("web")
    apply(web, LOCAL)
    with web.begin() as session:
        task = session.get_one(ScheduledTask, 1)
        queued = create_run(session, task, "manual")[0].id
        ended = create_run(session, task, "manual")[0].id
        assert cancel_run(session, ended) is not None
    apply(web, {"hosts": [HOST | {"zone": "dmz"}]})
    with web() as session:
        assert session.get_one(Run, queued).zone == "dmz"
        assert session.get_one(Run, ended).zone == "default"


@pytest.mark.parametrize(
    ("document", "error"),
    [
        ({"hosts": [HOST], "remove_hosts": ["vuls-target-1"]}, ValidationError),
        ({"remove_hosts": ["../x"]}, ValidationError),
        ({"hosts": [HOST | {"name": "../../etc"}]}, ValidationError),
        ({"hosts": [HOST | {"name": "a b"}]}, ValidationError),
        ({"hosts": [HOST | {"name": "x" * 64}]}, ValidationError),
        ({"hosts": [HOST | {"address": "a;b"}]}, ValidationError),
        ({"hosts": [HOST | {"port": 0}]}, ValidationError),
        ({"hosts": [HOST | {"id": 1_000_000}]}, ValidationError),
        ({"hosts": [HOST | {"zone": "Über"}]}, ValidationError),
        ({"hosts": [HOST | {"hypervisor_group": ""}]}, ValidationError),
        ({"hosts": [HOST | {"colour": "red"}]}, ValidationError),
        ({"hosts": [HOST | {"groups": ["../x"]}]}, ValidationError),
        ({"hosts": [HOST], "tasks": [TASK | {"scan_type": "slow"}]}, ValidationError),
        ({"hosts": [HOST], "tasks": [TASK | {"name": ""}]}, ValidationError),
        ({"hosts": [HOST], "tasks": [TASK | {"cron": "every day"}]}, BadScheduleError),
        ({"hosts": [HOST], "tasks": [TASK | {"timezone": "Mars"}]}, BadScheduleError),
        ({"hosts": [HOST], "tasks": [TASK | {"host": "nobody"}]}, InventoryError),
        ({"hosts": [HOST, HOST | {"id": 2}]}, InventoryError),
    ],
)
def test_a_bad_inventory_is_refused_and_nothing_stored(
    sessions_as: Maker, document: dict[str, Any], error: type[Exception]
) -> None:
    web = sessions_as("web")
    with pytest.raises(error):
        apply(web, document)
    with web() as session:
        assert session.scalars(select(Host)).all() == []
