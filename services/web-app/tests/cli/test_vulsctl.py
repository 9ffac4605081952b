"""`vulsctl` with the rights of the web application's database role."""

import json
from collections.abc import Callable
from pathlib import Path
from socket import AF_UNIX, socket
from typing import Any

import pytest
from redis import Redis
from typer.testing import CliRunner, Result

from app.cli import cli
from app.db.progress import note_progress
from app.db.run_log import append_lines
from app.db.runs import claim_run
from app.tasks.process import sessions
from app.utils.notification_service import NOTIFICATION_CHANNEL
from app.utils.passwords import verify_password
from tests.channel import next_message
from tests.conftest import Sessions
from tests.db.rows import add_host, queue_run
from tests.services import Database

PASSWORD = "correct horse battery"
Run = Callable[..., Result]


@pytest.fixture
def vulsctl(process_settings: Callable[..., Any]) -> Run:
    """Run a verb; `status` is the exit status that it must have, `stdin` what it reads."""
    process_settings("web")

    def run(*arguments: str, status: int = 0, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(cli, arguments, input=stdin)
        assert result.exit_code == status, result.output
        return result

    return run


def answer(result: Result) -> Any:
    """Return the JSON on standard output, which must be alone there."""
    return json.loads(result.stdout)


def test_a_user_is_added_listed_and_disabled(vulsctl: Run, database: Database) -> None:
    vulsctl("group", "add", "web")
    added = answer(
        vulsctl(
            "user",
            "add",
            "anna",
            "--role",
            "operator",
            "--group",
            "web",
            "--password-file",
            "-",
            "--json",
            stdin=PASSWORD,
        )
    )
    assert added["changed"]

    (listed,) = answer(vulsctl("user", "list", "--json"))["items"]
    assert (listed["name"], listed["role"], listed["groups"], listed["disabled"]) == (
        "anna",
        "operator",
        ["web"],
        False,
    )
    assert "operator" in vulsctl("user", "list").stdout

    ((stored,),) = database.execute("SELECT password_hash FROM app_user")
    assert stored.startswith("$argon2id$")
    assert verify_password(PASSWORD, stored)

    assert answer(vulsctl("user", "disable", "anna", "--json"))["changed"]
    assert not answer(vulsctl("user", "disable", "anna", "--json"))["changed"]
    assert answer(vulsctl("user", "enable", "anna", "--json"))["changed"]


def test_ensure_makes_a_user_once_and_leaves_its_password_alone(vulsctl: Run, database: Database) -> None:
    ensure = ("user", "ensure", "--name", "admin", "--role", "admin", "--password-file", "-")

    assert answer(vulsctl(*ensure, stdin=f"{PASSWORD}\n")) == {"changed": True}
    assert answer(vulsctl(*ensure, stdin="another long password")) == {"changed": False}
    ((stored,),) = database.execute("SELECT password_hash FROM app_user")
    assert verify_password(PASSWORD, stored)

    database.execute("UPDATE app_user SET role = 'viewer'")
    assert answer(vulsctl(*ensure, stdin=PASSWORD)) == {"changed": True}
    assert database.execute("SELECT role FROM app_user") == [("admin",)]


def test_a_new_password_signs_the_user_out(vulsctl: Run, database: Database, tmp_path: Path) -> None:
    vulsctl("user", "add", "anna", "--password-file", "-", stdin=PASSWORD)
    database.execute(
        "INSERT INTO user_session (token_hash, user_id, expires_at)"
        " SELECT 'x', id, now() + interval '1 hour' FROM app_user"
    )
    file = tmp_path / "password"
    file.write_text("a new long password\n")

    vulsctl("user", "passwd", "anna", "--password-file", str(file))

    ((stored,),) = database.execute("SELECT password_hash FROM app_user")
    assert verify_password("a new long password", stored)
    assert database.execute("SELECT count(*) FROM user_session") == [(0,)]


def test_an_instance_that_is_gone_is_missed(vulsctl: Run, process_settings: Callable[..., Any]) -> None:
    process_settings("web", instances=2)
    rows = answer(vulsctl("status", "--json", status=1))["items"]
    assert [(row["instance"], row["ready"]) for row in rows] == [("vuls-web@1", False), ("vuls-web@2", False)]
    assert rows[0]["reason"] == "does not run"


def test_a_socket_that_nobody_listens_on_is_told_with_the_reason(vulsctl: Run, tmp_path: Path) -> None:
    left = tmp_path / "admin.sock"
    with socket(AF_UNIX) as nobody:
        nobody.bind(str(left))
    (row,) = answer(vulsctl("status", "--socket", str(left), "--json", status=1))["items"]
    assert row["instance"] == str(left)
    assert "refused" in row["reason"]


def test_a_worker_without_redis_is_ill_and_says_what_keeps_it_from_it(
    vulsctl: Run, process_settings: Callable[..., Any], redis_client: Redis
) -> None:
    del redis_client
    process_settings("worker")
    assert answer(vulsctl("status", "--json"))["items"][0]["redis"] == "ok"
    process_settings("worker", redis_port=1)
    (row,) = answer(vulsctl("status", "--json", status=1))["items"]
    assert (row["ready"], row["database"], row["redis"]) == (False, "ok", "away")
    assert "refused" in row["reason"]


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (("user", "disable", "nobody"), "", "no user called nobody"),
        (("user", "add", "anna", "--group", "none"), "", "No such group: none"),
        (("user", "add", "anna", "--password-file", "-"), "short", "12 to 1024 characters"),
        (("user", "add", "anna", "--password-file", "-"), "", "password is empty"),
        (("user", "add", "anna", "--password-file", "/nowhere"), "", "cannot read the password"),
        (("token", "create", "nobody", "--name", "CI"), "", "no user called nobody"),
        (("token", "revoke", "5"), "", "no live token"),
        (("group", "grant", "none", "nobody"), "", "no user called nobody"),
        (("inventory", "apply", "-"), "{", "not as it must be"),
        (("inventory", "apply", "-"), '{"hosts": [{"name": "../../etc", "address": "x"}]}', "hosts.0.name"),
        (("inventory", "apply", "-"), '{"tasks": [{"name": "x", "host": "none"}]}', "no host called none"),
        (("notify", "--status", "done"), "", "unknown status"),
        (("notify", "--data", "{"), "", "not JSON"),
        (("notify", "--data", "[" * 100_000), "", "not JSON"),
        (("notify", "--data", '{"high": "many"}'), "", "result_data.high: Input should be a valid integer, not 'many'"),
        (("notify", "--data", '{"a": 1e400}'), "", "result_data.a is a number that browsers cannot hold"),
        (("notify", "--data", '{"a":' + "[" * 40 + "]" * 40 + "}"), "", "nested deeper than 16 levels"),
        (("notify", "--data", json.dumps({"a": "x" * 40_000})), "", "at most 32768 are sent to browsers"),
        (("notify", "--run-id", str(2**64)), "", "task_run_id is a number that browsers cannot hold"),
        (("db", "new-epoch"), "", "settings of the schema's owner"),
        (("status", "--socket", "/nowhere/admin.sock"), "", ""),
        (("drain", "7"), "", "does not answer"),
    ],
)
def test_what_cannot_be_done_is_said_with_what_to_do_next(
    vulsctl: Run, arguments: tuple[str, ...], stdin: str, said: str
) -> None:
    result = vulsctl(*arguments, status=1, stdin=stdin)

    assert said in result.stderr
    assert "Next: " in result.stderr or arguments[0] == "status"
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "arguments", [("user", "add", "../../etc"), ("user", "add", "x", "--role", "root"), ("group", "add", "a b"), ("x",)]
)
def test_wrong_usage_is_refused(vulsctl: Run, arguments: tuple[str, ...]) -> None:
    vulsctl(*arguments, status=2)


def test_a_token_is_shown_once_and_stored_as_a_hash(vulsctl: Run, database: Database) -> None:
    vulsctl("user", "add", "tool")
    made = answer(vulsctl("token", "create", "tool", "--name", "CI", "--days", "30", "--json"))

    assert made["token"].startswith("vl_")
    (listed,) = answer(vulsctl("token", "list", "--json"))["items"]
    assert (listed["user"], listed["name"], listed["revoked"]) == ("tool", "CI", False)
    assert made["token"] not in json.dumps(listed)
    assert database.execute("SELECT length(token_hash) FROM api_token") == [(32,)]

    vulsctl("token", "revoke", str(made["id"]))
    assert answer(vulsctl("token", "list", "--json"))["items"][0]["revoked"]


def test_rights_on_a_group_are_given_and_taken(vulsctl: Run) -> None:
    assert answer(vulsctl("group", "ensure", "web")) == {"changed": True}
    assert answer(vulsctl("group", "ensure", "web")) == {"changed": False}
    vulsctl("user", "add", "anna")

    for verb, changed in (("grant", True), ("grant", False), ("revoke", True), ("revoke", False)):
        assert answer(vulsctl("group", verb, "web", "anna", "--json"))["changed"] is changed
    assert answer(vulsctl("group", "list", "--json"))["items"][0]["hosts"] == 0


def test_runs_are_listed_shown_and_cancelled(
    vulsctl: Run, sessions_as: Callable[..., Sessions], redis_client: Redis
) -> None:
    web = sessions_as("web")
    run, other = (queue_run(web, name)[0] for name in ("vuls-target-1", "vuls-target-2"))
    with sessions_as("worker").begin() as session:
        claim = claim_run(session, run.id, "a", 30)
        assert claim is not None
        note_progress(session, claim.run, "matching", 80)
        append_lines(session, claim.run, ["first", "second"])
    listed = answer(vulsctl("run", "list", "--open", "--json"))["items"]
    assert [(item["id"], item["phase"], item["percent"]) for item in listed] == [
        (other.id, None, None),
        (run.id, "matching", 80),
    ]
    assert "vuls-target-1" in vulsctl("run", "list", "--limit", "10").stdout
    assert "percent: 80" in vulsctl("run", "show", str(run.id)).stdout
    assert vulsctl("run", "log", str(run.id)).stdout == "first\nsecond\n"

    with redis_client.pubsub(ignore_subscribe_messages=True) as subscription:  # type: ignore[no-untyped-call]
        subscription.subscribe(NOTIFICATION_CHANNEL)
        subscription.get_message(timeout=5)
        assert answer(vulsctl("run", "cancel", str(run.id), "--json"))["changed"]
        assert next_message(subscription)["data"]["status"] == "cancelled"
    assert answer(vulsctl("run", "show", str(run.id), "--json"))["status"] == "cancelled"
    refused = vulsctl("run", "cancel", str(run.id), status=1)
    assert "has finished: cancelled" in refused.stderr
    assert f"vulsctl run show {run.id}" in refused.stderr
    for verb in ("show", "log", "cancel"):
        assert "there is no run 4711" in vulsctl("run", verb, "4711", status=1).stderr


@pytest.fixture
def three_hosts(sessions_as: Callable[..., Sessions]) -> None:
    with sessions_as("web").begin() as session:
        for name, zone in (("web-1", "default"), ("web-2", "default"), ("far-1", "far")):
            add_host(session, name, zone)


@pytest.fixture
def scanned_hosts(database: Database) -> None:
    """A scan is stored of each host that there is: comes after `three_hosts`."""
    database.execute(
        "INSERT INTO run (task_id, task_name, host_id, zone, scan_type, status, trigger, attempt, sent_count,"
        " result_data, finished_at) SELECT 0, 'Scan ' || name, id, zone, 'fast', 'success', 'adhoc', 1, 1, '{}', now()"
        " FROM host"
    )
    database.execute(
        "INSERT INTO scan (run_id, host_id, attempt, family, release, verdict, demo, package_count, result)"
        " SELECT id, host_id, 1, 'debian', '12.5', 'assessed', false, 142, '{}' FROM run"
    )


@pytest.mark.usefixtures("three_hosts", "scanned_hosts")
@pytest.mark.parametrize(
    ("arguments", "hosts"),
    [(["web-2"], ["web-2"]), (["--zone", "default"], ["web-1", "web-2"]), (["--all"], ["web-1", "web-2", "far-1"])],
    ids=str,
)
def test_packages_are_assessed_again_for_a_host_a_zone_or_all(
    vulsctl: Run, redis_client: Redis, arguments: list[str], hosts: list[str]
) -> None:
    with redis_client.pubsub(ignore_subscribe_messages=True) as subscription:  # type: ignore[no-untyped-call]
        subscription.subscribe(NOTIFICATION_CHANNEL)
        subscription.get_message(timeout=5)
        queued = answer(vulsctl("run", "reassess", *arguments, "--json"))["items"]
        told = [next_message(subscription)["data"] for _ in hosts]
    assert [(run["host_name"], run["kind"], run["status"]) for run in queued] == [
        (host, "reassess", "queued") for host in hosts
    ]
    assert [(data["host_name"], data["kind"]) for data in told] == [(host, "reassess") for host in hosts]


@pytest.mark.usefixtures("three_hosts", "scanned_hosts")
def test_hosts_for_which_it_is_of_no_use_are_left_out_and_counted(
    vulsctl: Run, sessions_as: Callable[..., Sessions]
) -> None:
    with sessions_as("web").begin() as session:
        add_host(session, "new-1")
        add_host(session, "new-2")
    assert len(answer(vulsctl("run", "reassess", "web-1", "--json"))["items"]) == 1
    again = vulsctl("run", "reassess", "web-1", "--json")
    assert answer(again)["items"] == []
    assert "1 host, because a re-assessment is queued or running already" in again.stderr
    several = vulsctl("run", "reassess", "--all", "--json")
    assert [run["host_name"] for run in answer(several)["items"]] == ["web-2", "far-1"]
    assert "1 host, because a re-assessment" in several.stderr
    assert "2 hosts, because no scan of them is stored" in several.stderr
    # Who names a host learns from the run why nothing can be assessed.
    assert len(answer(vulsctl("run", "reassess", "new-1", "--json"))["items"]) == 1


@pytest.mark.usefixtures("three_hosts", "scanned_hosts")
def test_redis_that_does_not_answer_is_waited_for_once(
    vulsctl: Run, process_settings: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    process_settings("web", redis_port=1)
    assert len(answer(vulsctl("run", "reassess", "--all", "--json"))["items"]) == 3
    assert caplog.text.count("Could not publish event") == 1


@pytest.mark.usefixtures("three_hosts")
def test_a_connection_is_tested_from_the_command_line(vulsctl: Run) -> None:
    (run,) = answer(vulsctl("run", "check", "web-1", "--json"))["items"]
    assert (run["host_name"], run["kind"], run["task_name"]) == ("web-1", "check", "Test connection of web-1")
    assert "check" in vulsctl("run", "list", "--limit", "10").stdout


@pytest.mark.usefixtures("three_hosts")
def test_a_host_that_is_not_there_and_no_choice_at_all_are_refused(vulsctl: Run) -> None:
    assert "there is no host called web-9" in vulsctl("run", "check", "web-9", status=1).stderr
    assert "there is no host in the zone none" in vulsctl("run", "reassess", "--zone", "none", status=1).stderr
    for wrong in ([], ["web-1", "--all"], ["--zone", "far", "--all"]):
        vulsctl("run", "reassess", *wrong, status=2)
    assert answer(vulsctl("run", "list", "--json"))["items"] == []


def test_an_inventory_is_applied_once(vulsctl: Run) -> None:
    inventory = json.dumps(
        {
            "hosts": [{"id": 1, "name": "vuls-target-1", "address": "vuls-target-1", "groups": ["targets"]}],
            "tasks": [{"id": 1, "name": "Scan vuls-target-1", "host": "vuls-target-1", "cron": "0 3 * * *"}],
        }
    )
    assert answer(vulsctl("inventory", "apply", "-", stdin=inventory))["changed"]
    assert not answer(vulsctl("inventory", "apply", "-", stdin=inventory))["changed"]


def test_a_new_epoch_is_begun_by_the_owner(process_settings: Callable[..., Any], database: Database) -> None:
    process_settings("cli")
    ((before,),) = database.execute("SELECT epoch FROM event_epoch")

    told = CliRunner().invoke(cli, ["db", "new-epoch", "--json"])

    ((after,),) = database.execute("SELECT epoch FROM event_epoch")
    assert json.loads(told.stdout) == {"changed": True, "before": before, "epoch": after}
    assert before != after

    said = CliRunner().invoke(cli, ["db", "new-epoch"]).stdout
    ((latest,),) = database.execute("SELECT epoch FROM event_epoch")
    assert f"in epoch {latest} now, after {after}" in said
    assert "loads its state anew" in said


def test_a_notification_is_stored_and_told(vulsctl: Run, database: Database) -> None:
    sent = answer(vulsctl("notify", "--name", "Hello", "--data", '{"test": "data"}', "--json"))

    assert sent["data"]["task_name"] == "Hello"
    assert database.execute("SELECT type, host_id, data->'result_data' FROM event") == [
        ("task_update", None, {"test": "data"})
    ]


@pytest.mark.parametrize("verb", [["user", "list"], ["db", "upgrade"], ["notify"]], ids=" ".join)
def test_a_database_that_does_not_answer_is_named(process_settings: Callable[..., Any], verb: list[str]) -> None:
    process_settings("web", database_port=1)
    sessions.cache_clear()

    result = CliRunner().invoke(cli, verb)

    sessions.cache_clear()
    assert result.exit_code == 1
    assert "does not answer" in result.stderr
    assert "Next: " in result.stderr


@pytest.mark.parametrize(
    ("verb", "next_step"),
    [
        (["user", "list"], "vulsctl db upgrade"),
        (["notify"], "vulsctl db upgrade"),
        (["db", "upgrade"], "the schema's owner"),
    ],
    ids=["user list", "notify", "db upgrade"],
)
def test_a_database_without_tables_or_rights_is_named(
    process_settings: Callable[..., Any], bare_database: Database, verb: list[str], next_step: str
) -> None:
    process_settings("web", database_name=bare_database.name)
    sessions.cache_clear()

    result = CliRunner().invoke(cli, verb)

    sessions.cache_clear()
    assert result.exit_code == 1
    assert "the database refuses" in result.stderr
    assert next_step in result.stderr


def test_the_schema_is_upgraded_by_its_owner_and_only_once(process_settings: Callable[..., Any]) -> None:
    process_settings("cli")

    result = CliRunner().invoke(cli, ["db", "upgrade"])

    assert json.loads(result.stdout)["changed"] is False
