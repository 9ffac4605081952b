"""The estimate goes by earlier scans, never falls, and never says that a scan is over."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.progress import MOST, PHASES, Course, mean_seconds

EARLIER = {"connecting": 2.0, "collecting_packages": 6.0, "matching": 2.0}
SECONDS = st.floats(0, 1e5)


def percents(course: Course, *looks: tuple[str, float]) -> list[int | None]:
    shown = []
    for phase, at in looks:
        course.look(phase, at)
        shown.append(course.percent)
    return shown


def test_each_phase_has_the_share_that_it_took_before() -> None:
    looks = [("preparing", 0), ("connecting", 1), ("connecting", 2), ("collecting_packages", 3), ("matching", 20)]
    assert percents(Course(EARLIER), *looks) == [0, 0, 10, 20, 80]


def test_a_phase_that_takes_longer_than_before_waits_at_the_end_of_its_share() -> None:
    course = Course(EARLIER)
    assert percents(course, *[("collecting_packages", at) for at in (0, 3, 60)]) == [20, 50, 80]
    assert percents(course, ("matching", 61), ("matching", 99)) == [80, MOST]


def test_a_host_without_earlier_scans_gets_no_percent() -> None:
    assert percents(Course({}), ("connecting", 0), ("matching", 9)) == [None, None]


@pytest.mark.parametrize("phase", ["queued", "a_phase_of_a_later_release"])
def test_a_phase_without_a_share_leaves_the_percent_as_it_is(phase: str) -> None:
    assert percents(Course(EARLIER), (phase, 0), ("collecting_packages", 1), (phase, 9)) == [None, 20, 20]


def test_a_scan_that_is_taken_over_goes_on_from_its_percent() -> None:
    assert percents(Course(EARLIER, 70), ("collecting_packages", 0), ("matching", 1)) == [70, 80]


def test_durations_are_those_between_the_looks_without_the_wait_for_a_place() -> None:
    course = Course({})
    percents(course, ("queued", 0), ("preparing", 50), ("connecting", 51), ("connecting", 52))
    percents(course, ("matching", 53), ("matching", 55))
    assert course.durations() == {"preparing": 1.0, "connecting": 2.0, "matching": 2.0}


def test_earlier_scans_count_alike_and_an_unseen_phase_as_no_time() -> None:
    mean = mean_seconds([{"connecting": 4.0, "matching": 1.0}, {"connecting": 2.0}])
    assert {phase: seconds for phase, seconds in mean.items() if seconds} == {"connecting": 3.0, "matching": 0.5}
    assert mean_seconds([]) == {}


@given(
    st.dictionaries(st.sampled_from(PHASES), SECONDS),
    st.lists(st.tuples(st.sampled_from([*PHASES, "queued"]), SECONDS)),
    st.none() | st.integers(0, MOST),
)
def test_it_never_falls_and_stays_below_a_hundred(
    earlier: dict[str, float], steps: list[tuple[str, float]], before: int | None
) -> None:
    course, now = Course(earlier, before), 0.0
    for phase, step in steps:
        now += step
        last = course.percent
        course.look(phase, now)
        assert course.percent is None or (last or 0) <= course.percent <= MOST
        assert last is None or course.percent is not None
