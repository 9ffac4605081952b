"""A release rolls out and back, and nobody notices; one that does not work goes back by itself."""

import re
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import plays
from tests.e2e import stack
from tests.runbooks import run_page
from tests.traffic import running

from . import fleet

IGNORED = shutil.ignore_patterns("tests", "__pycache__", ".*", "node_modules")
# In the order in which a rollout comes by, so that each is ahead of what was done when the last one was left.
INTERRUPTED_AT = (
    "runs | Remember it",
    "unpack | Install the locked wheels",
    "backup | Save it",
    "migrate | Bring the tables",
    "balance | Reload nginx",
    "empty | Send them away from instance 1",
    "roll | Restart instance 1",
    "roll | Open a socket and wait for an event, instance 2",
    "roll | Restart the worker",
    "finish | Give to all instances again",
)
LAST_LINES = 100  # in which the reason has to stand: the journal before it, and the recap after it


def edit(file: Path, before: str, after: str) -> None:
    """Replace a text that has to be there."""
    text = file.read_text()
    assert before in text, f"{file} has no {before!r}"
    file.write_text(text.replace(before, after, 1))


def does_not_start(app: Path) -> None:
    edit(app / "app/main.py", '"""', 'raise RuntimeError("broken on purpose: no start")\n"""')


def never_ready(app: Path) -> None:
    edit(app / "app/api/readiness.py", "if self._realtime.draining:", "if True:  # broken on purpose")


def add_migration(app: Path, *statements: str) -> None:
    """Add a migration to a tree, behind its last one."""
    versions = sorted((app / "migrations/versions").glob("0*.py"))
    last = re.search(r'^revision = "(\w+)"', versions[-1].read_text(), re.MULTILINE)
    assert last
    lines = "".join(f'    op.get_bind().exec_driver_sql("{statement}")\n' for statement in statements)
    (app / "migrations/versions/9999_added.py").write_text(
        '"""Added by a test."""\n\nfrom alembic import op\n\n'
        f'revision = "9999"\ndown_revision = "{last[1]}"\nbranch_labels = depends_on = None\nkind = "expand"\n\n\n'
        f"def upgrade() -> None:\n{lines}"
    )


def fails_to_migrate(app: Path) -> None:
    add_migration(app, "CREATE TABLE half_done ()", "SELECT broken_on_purpose")


def takes_its_time_to_migrate(app: Path) -> None:
    add_migration(app, "CREATE TABLE taken_slowly AS SELECT 1 AS times", "SELECT pg_sleep(5)")


def migrating() -> bool:
    return fleet.ask_database("SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(5)'") != "0"


@pytest.fixture(scope="module")
def releases() -> dict[str, str]:
    """Roll to the release before this one, and return the ids of both."""
    new = fleet.release_of(fleet.WEB[0])
    status, output = plays.play("rollout", "-e", f"release={fleet.PREVIOUS}")
    assert status == 0, output[-6000:]
    old = fleet.release_of(fleet.WEB[0])
    assert old != new
    fleet.assert_all_serve(old)
    return {"new": new, "old": old}


def test_a_release_rolls_out_under_traffic_and_nobody_notices(releases: dict[str, str], tmp_path: Path) -> None:
    with fleet.traffic(tmp_path / "report.json") as report:
        began = time.monotonic()
        run_page("docs/operations/upgrade.md", replace=fleet.REPLACE, timeout=1500)
        seconds = time.monotonic() - began
    sys.stdout.write(f"the rollout took {seconds:.0f} s\n")
    # A question without an answer counts as "none"; what it means for a reader is the pages' figure.
    assert set(report["releases"]) - {"none"} == set(releases.values()), "old and new code served side by side"
    assert report["reconnects"] >= running.CLIENTS / 2, "clients were moved"
    fleet.assert_all_serve(releases["new"])
    document = f"/opt/vuls/releases/{releases['new']}/sbom.cdx.json"
    assert '"bomFormat": "CycloneDX"' in stack.must(stack.on(fleet.WEB[0], "cat", document))


def test_it_rolls_back_by_hand_under_traffic_and_typed_twice_it_stays_there(
    releases: dict[str, str], tmp_path: Path
) -> None:
    with fleet.traffic(tmp_path / "report.json"):
        run_page(
            "docs/operations/rollback.md",
            "Before you start",
            "Steps",
            "How you know that it worked",
            replace=fleet.REPLACE,
            timeout=1500,
        )
    fleet.assert_all_serve(releases["old"])
    status, output = plays.play("rollback")
    assert status == 0, output[-6000:]
    fleet.assert_all_serve(releases["old"])


def test_from_a_rollback_there_is_a_way_forward_again(releases: dict[str, str]) -> None:
    run_page("docs/operations/rollback.md", "How to go back", replace=fleet.REPLACE, timeout=1500)
    fleet.assert_all_serve(releases["new"])


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        (does_not_start, "broken on purpose: no start"),
        (never_ready, "draining"),
        (fails_to_migrate, "broken_on_purpose"),
    ],
)
@pytest.mark.usefixtures("releases")
def test_a_broken_release_ends_with_the_old_one_serving_and_says_why(
    tmp_path: Path, how: Callable[[Path], None], reason: str
) -> None:
    before = fleet.release_of(fleet.WEB[0])
    shutil.copytree(stack.ROOT / "services", tmp_path / "tree/services", ignore=IGNORED)
    how(tmp_path / "tree/services/web-app")
    with fleet.traffic(tmp_path / "report.json", clients=50):
        given = ("-e", f"rollout_source={tmp_path / 'tree'}", "-e", "web_ready_timeout=20")
        status, output = plays.play("rollout", *given)
        sys.stdout.write(output[-8000:])
    assert status != 0
    assert reason in "\n".join(output.splitlines()[-LAST_LINES:]), output[-6000:]
    fleet.assert_all_serve(before)
    assert fleet.ask_database("SELECT to_regclass('half_done')") == ""


def test_a_second_operator_is_kept_away_and_told_by_whom(releases: dict[str, str]) -> None:
    first = plays.start("rollout", "-e", f"release={releases['old']}")
    try:
        assert first.stdout is not None
        for line in first.stdout:
            if line.startswith("TASK") and "plan |" in line:
                break
        status, output = plays.play("rollback")
    finally:
        rest, _ = first.communicate(timeout=900)
    assert first.returncode == 0, rest[-6000:]
    assert status != 0
    assert "is at it" in output
    assert "rollout_break_lock=true" in output


def test_what_is_interrupted_at_ten_places_goes_on_when_it_is_typed_again(
    releases: dict[str, str], tmp_path: Path
) -> None:
    shutil.copytree(stack.ROOT / "services", tmp_path / "tree/services", ignore=IGNORED)
    takes_its_time_to_migrate(tmp_path / "tree/services/web-app")
    command = ("rollout", "-e", f"rollout_source={tmp_path / 'tree'}")
    with fleet.traffic(tmp_path / "report.json", clients=50):
        for at in INTERRUPTED_AT:
            began = time.monotonic()
            plays.interrupted(*command, at=at, when=migrating if at.startswith("migrate") else None)
            sys.stdout.write(f"interrupted at {at!r} after {time.monotonic() - began:.0f} s\n")
        status, output = plays.play(*command)
        assert status == 0, output[-6000:]
    newest = fleet.release_of(fleet.WEB[0])
    assert newest not in releases.values()
    fleet.assert_all_serve(newest)
    assert fleet.ask_database("SELECT count(*) FROM taken_slowly") == "1", "migrated once"


def test_a_host_is_drained_and_comes_back(releases: dict[str, str]) -> None:
    del releases
    target = fleet.release_of(fleet.WEB[0])
    status, output = plays.play("drain", "-e", f"drain={fleet.WEB[0]}")
    assert status == 0, output[-6000:]
    assert {value for name, value in fleet.serving().items() if name.startswith(fleet.WEB[0])} == {"draining"}
    status, output = plays.play("drain", "-e", f"drain={fleet.WEB[1]}")
    assert status != 0
    assert "Nobody would be left to serve" in output
    for back in ("false", "true"):
        status, output = plays.play("drain", "-e", f"drain={fleet.WEB[1]}:1", "-e", f"back={back}")
        assert status == 0, output[-6000:]
        assert f"{fleet.WEB[0]}:1, {fleet.WEB[0]}:2" in " ".join(output.split()), "it stays out, and is named"
    assert " down" in stack.must(stack.on(fleet.BALANCER, "grep", "-E", r"^\s+server ", "/etc/nginx/nginx.conf"))
    status, output = plays.play("drain", "-e", f"drain={fleet.WEB[0]}", "-e", "back=true")
    assert status == 0, output[-6000:]
    fleet.assert_all_serve(target)
