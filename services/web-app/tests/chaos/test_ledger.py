"""The checker of the chaos run notices what it is there for."""

import pytest

from tests.chaos.follower import Diary
from tests.chaos.ledger import Entry, differences

LOG = [Entry(sequence, "task_update", None, alone=sequence == 5) for sequence in (1, 2, 4, 5, 7, 8)]


@pytest.mark.parametrize(
    "told",
    [
        [(1, 1, 0), (2, 2, 0), (4, 4, 0), (5, 5, 0), (7, 7, 0), (8, 8, 0)],
        [(1, 4, 3), (5, 5, 0), (6, 8, 2)],
        [(1, 1, 0), (2, 4, 2), (5, 5, 0), (7, 8, 2)],
    ],
)
def test_every_event_once_is_right_alone_or_in_a_digest(told: list[tuple[int, int, int]]) -> None:
    assert differences(_diary(told), LOG) is None


@pytest.mark.parametrize(
    ("told", "what"),
    [
        ([(1, 1, 0), (4, 4, 0)], "event 4"),
        ([(1, 1, 0), (2, 2, 0), (2, 2, 0)], "event 2"),
        ([(2, 2, 0), (1, 1, 0)], "event 2"),
        ([(1, 4, 3), (5, 5, 0), (7, 7, 0)], "nothing more"),
        ([(1, 4, 2), (5, 5, 0)], "digest of 2"),
        ([(1, 8, 6)], "hides"),
        ([(1, 1, 0), (1, 4, 3)], "digest of 3"),
        ([(1, 4, 3), (5, 5, 0), (6, 8, 2), (9, 9, 0)], "event 9"),
        ([(1, 4, 3), (5, 5, 0), (6, 8, 2), (9, 10, 1)], "digest of 1"),
    ],
    ids=["lost", "repeated", "swapped", "end lost", "miscounted", "hidden", "counted twice", "invented", "nothing"],
)
def test_what_differs_from_the_log_is_shown(told: list[tuple[int, int, int]], what: str) -> None:
    found = differences(_diary(told), LOG)
    assert found is not None
    assert what in found


def _diary(told: list[tuple[int, int, int]]) -> Diary:
    diary = Diary()
    for entry in told:
        diary.note(*entry)
    return diary
