"""Of several schedulers one is active; another follows when it lets go or is gone."""

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy.exc import SQLAlchemyError

from app.config import Settings
from app.scheduler.leadership import Leadership
from tests.services import Database
from tests.waiting import wait_until

Maker = Callable[..., Settings]


@pytest.fixture
def two(scheduler_settings: Maker) -> Iterator[tuple[Leadership, Leadership]]:
    with (
        Leadership(scheduler_settings(instance="vuls-web-1")) as one,
        Leadership(scheduler_settings(instance="vuls-web-2")) as other,
    ):
        wait_until(lambda: not one.holder(), what="the end of the sessions of tests before")
        yield one, other


def test_one_holds_the_lock_and_the_other_knows_which(two: tuple[Leadership, Leadership]) -> None:
    one, other = two
    assert (one.hold(), other.hold(), one.hold(), other.hold()) == (True, False, True, False)
    assert one.holder() == other.holder() == "vuls-scheduler vuls-web-1"


def test_letting_go_hands_over_at_once(two: tuple[Leadership, Leadership]) -> None:
    one, other = two
    assert one.hold()
    one.release()
    assert wait_until(other.hold, 30)
    assert not one.hold()


def test_a_session_that_the_server_ends_is_noticed_before_the_next_work(
    two: tuple[Leadership, Leadership], database: Database
) -> None:
    one, other = two
    assert one.hold()
    database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'vuls-scheduler vuls-web-1'"
    )
    assert wait_until(other.hold, 30)
    with pytest.raises(SQLAlchemyError):
        one.hold()
    one.release()
    assert not one.hold()


def test_a_lock_that_is_gone_from_a_living_session_is_noticed(two: tuple[Leadership, Leadership]) -> None:
    one, _ = two
    assert one.hold()
    with one.connection.begin():
        one.connection.exec_driver_sql("SELECT pg_advisory_unlock_all()")
    assert not one.hold()
