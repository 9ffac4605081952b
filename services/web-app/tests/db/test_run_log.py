"""The log of a run is its claimant's to write, numbered without end, and short."""

from collections.abc import Callable

from sqlalchemy import func, select

from app.db.models import Run, RunLog
from app.db.run_log import append_lines, last_lines, read_log
from app.db.runs import cancel_run, claim_run, finish_run, restart_run
from app.domain.run_log import KEPT
from tests.conftest import Sessions
from tests.db.rows import queue_run

Maker = Callable[..., Sessions]


def claimed(worker: Sessions, run_id: int) -> Run:
    with worker.begin() as session:
        claim = claim_run(session, run_id, "a", 30)
    assert claim is not None
    return claim.run


def texts(sessions: Sessions, run_id: int, since: int = 0, limit: int = 100) -> list[tuple[int, str]]:
    with sessions() as session:
        return [(line.n, line.text) for line in read_log(session, run_id, since, limit)]


def test_lines_are_numbered_and_read_from_where_one_stopped(sessions_as: Maker) -> None:
    web, worker = sessions_as("web"), sessions_as("worker")
    run = claimed(worker, queue_run(web)[0].id)
    for lines in (["a", "b"], [], ["c"]):
        with worker.begin() as session:
            assert append_lines(session, run, lines)
    assert texts(web, run.id) == [(1, "a"), (2, "b"), (3, "c")]
    assert texts(web, run.id, since=1, limit=1) == [(2, "b")]
    assert texts(web, run.id, since=3) == []


def test_only_the_last_lines_are_kept(sessions_as: Maker) -> None:
    web, worker = sessions_as("web"), sessions_as("worker")
    run = claimed(worker, queue_run(web)[0].id)
    for count in (KEPT - 1, 3, 2 * KEPT):
        with worker.begin() as session:
            assert append_lines(session, run, ["x"] * count)
    with web() as session:
        kept = session.execute(select(func.count(), func.min(RunLog.n), func.max(RunLog.n))).one()
    assert tuple(kept) == (KEPT, 2 * KEPT + 3, 3 * KEPT + 2)


def test_a_run_that_is_the_claimants_no_longer_takes_no_line(sessions_as: Maker) -> None:
    web, worker = sessions_as("web"), sessions_as("worker")
    run = claimed(worker, queue_run(web)[0].id)
    with web.begin() as session:
        assert cancel_run(session, run.id)
    with worker.begin() as session:
        assert not append_lines(session, run, ["late"])
    assert texts(web, run.id) == []


def test_another_attempt_goes_on_with_the_numbers_and_knows_its_own_lines_only(sessions_as: Maker) -> None:
    web, worker = sessions_as("web"), sessions_as("worker")
    first = claimed(worker, queue_run(web)[0].id)
    with worker.begin() as session:
        append_lines(session, first, ["first"])
        finish_run(session, first, "failed", {})
        restart_run(session, first.id)
    second = claimed(worker, first.id)
    with worker.begin() as session:
        assert last_lines(session, second, 10) == []
        append_lines(session, second, ["second", "third"])
        assert last_lines(session, second, 10) == ["second", "third"]
        assert last_lines(session, second, 1) == ["third"]
    assert texts(web, first.id) == [(1, "first"), (2, "second"), (3, "third")]
