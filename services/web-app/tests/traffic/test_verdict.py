"""A verdict that could not be bad would prove nothing."""

import random

import pytest

from tests.chaos.follower import Diary, Remote
from tests.chaos.ledger import Entry, entries
from tests.traffic.verdict import Report, compare, missing, quantile
from tests.traffic.visitor import Visitor, peak

LOG = [Entry(sequence, "task_update", None, alone=False) for sequence in range(1, 9)]


def diary(*told: int | tuple[int, int]) -> Diary:
    """Return one with single events and digests from a first to a last sequence."""
    result = Diary()
    for item in told:
        first, last = item if isinstance(item, tuple) else (item, item)
        result.note(first, last, 0 if isinstance(item, int) else last - first + 1)
    return result


@pytest.mark.parametrize(
    ("told", "deliveries", "lost", "repeated"),
    [
        (diary(1, 2, 3, 4, 5, 6, 7, 8), 8, 0, 0),
        (diary(1, 2, (3, 7), 8), 8, 0, 0),
        (diary(1, 2, 4, 5, 6, 7, 8), 7, 1, 0),
        (diary(1, 2, 3, 3, 4, 5, 6, 7, 8), 9, 0, 1),
        (diary(1, 2, (2, 7), 8), 9, 0, 1),
        (diary(), 0, 8, 0),
    ],
)
def test_what_was_lost_and_what_was_repeated_is_counted(told: Diary, deliveries: int, lost: int, repeated: int) -> None:
    found = compare(told, LOG, base=0)
    assert (found.deliveries, found.lost, found.repeated) == (deliveries, lost, repeated)
    assert bool(found.difference) == bool(lost or repeated)


def test_a_wrong_order_is_a_difference_although_everything_came_once() -> None:
    found = compare(diary(1, 3, 2, 4, 5, 6, 7, 8), LOG, base=0)
    assert (found.lost, found.repeated) == (0, 0)
    assert found.difference


def test_what_lies_before_the_base_is_expected_of_nobody() -> None:
    found = compare(diary(6, 7, 8), LOG, base=5)
    assert (found.lost, found.repeated, found.difference) == (0, 0, None)


def test_an_event_that_was_committed_and_is_gone_or_there_twice_is_missing() -> None:
    assert missing([0, 1, 2, 3], [0, 2, 3, 3]) == [1, 3]


def test_the_peak_counts_what_lies_within_one_second() -> None:
    assert peak([5.0, 0.0, 0.4, 0.9, 1.5]) == 3
    assert peak([]) == 0


def test_a_report_with_a_problem_is_bad_and_names_only_the_first_of_many() -> None:
    report = Report()
    assert report.as_dict()["verdict"] == "good"
    report.blame("lost", [str(number) for number in range(30)])
    assert report.as_dict()["verdict"] == "bad"
    assert len(report.problems) == 11


def test_rows_read_as_text_are_the_events_that_a_driver_returns() -> None:
    (event,) = entries([["7", "task_update", "", "failed", "0"]])
    assert event == Entry(7, "task_update", None, alone=True)


def test_a_visitor_follows_the_cookie_that_an_answer_sets() -> None:
    visitor = Visitor(1, "https://localhost:8443", Remote("localhost", 8443, None), {"session": "s"}, "k3f9-7")  # type: ignore[arg-type]
    visitor.answered(b"HTTP/1.1 101 Switching\r\nSet-Cookie: __Host-vuls_route=abc; Path=/; Secure\r\nX: y")
    assert visitor._headers["Cookie"] == "session=s; __Host-vuls_route=abc"
    assert visitor.base == 7
    assert not visitor.refused
    visitor.answered(b"HTTP/1.1 502 Bad Gateway")
    visitor.answered(b"")
    assert visitor.refused == {502: 1, 0: 1}


def test_a_quantile_is_a_value_that_was_there() -> None:
    values = sorted(random.Random(1).sample(range(1000), 100))
    assert quantile(values, 0.5) == values[50]
    assert quantile([], 0.5) == 0
