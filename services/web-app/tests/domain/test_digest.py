"""What is merged and what never is: counts add up, order stays, nothing urgent waits."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.cursor import Cursor
from app.domain.digest import (
    SEVERITIES,
    STATUSES,
    Digest,
    condense,
    is_urgent,
    latest_progress,
    may_be_merged,
)
from app.domain.envelope import StoredEvent


def update(sequence: int, status: str = "success", run: int = 0, host: int | None = 1, **result: Any) -> StoredEvent:
    data = {"task_run_id": run or sequence, "status": status, "result_data": result}
    return StoredEvent(Cursor("e", sequence), "task_update", host, data, datetime.now(UTC))


def raw(sequence: int, data: dict[str, Any], type_: str = "task_update") -> StoredEvent:
    return StoredEvent(Cursor("e", sequence), type_, 1, data, datetime.now(UTC))


def progress(sequence: int, run: int) -> StoredEvent:
    return StoredEvent(Cursor("e", sequence), "task_progress", 1, {"task_run_id": run}, datetime.now(UTC))


def changed(sequence: int, **kinds: Any) -> StoredEvent:
    data = {"new": {"critical": 0}, "reappeared": {"critical": 0}, "severity_changed": {"critical": 0}} | kinds
    return raw(sequence, {"task_run_id": 1, **data}, "findings_changed")


def sequences(items: list[StoredEvent | Digest]) -> list[Any]:
    return [
        (item.since.sequence, item.until.sequence) if isinstance(item, Digest) else item.cursor.sequence
        for item in items
    ]


ASSESSED: dict[str, Any] = {
    "verdict": "assessed",
    "vulnerabilities": 10,
    "high": 1,
    "medium": 2,
    "low": 3,
    "unknown": 4,
    "critical": 0,
}
NOT_ASSESSED: dict[str, Any] = {"verdict": "not_assessed", "vulnerabilities": None, "high": None, "critical": None}


def test_updates_in_a_row_become_a_digest_whose_counts_add_up() -> None:
    (digest,) = condense(
        [
            update(3, "queued", host=1),
            update(4, "started", host=1),
            update(6, **ASSESSED, host=1),
            update(7, **ASSESSED, host=2),
            update(8, **NOT_ASSESSED, host=2),
            update(9, "cancelled", host=None),
            update(10, test="data", host=None),
        ],
        at_least=7,
    )
    assert isinstance(digest, Digest)
    assert (str(digest.since), str(digest.until)) == ("e-2", "e-10")
    assert digest.counts == {
        "events": 7, "queued": 1, "started": 1, "success": 4, "cancelled": 1, "assessed": 2, "not_assessed": 1,
        "vulnerabilities": 20, "high": 2, "medium": 4, "low": 6, "unknown": 8, "hosts": 2,
        "changed": 0, "new": 0, "fixed": 0, "reappeared": 0, "severity_changed": 0,
    }  # fmt: skip


def test_fewer_stay_as_they_are() -> None:
    assert sequences(condense([update(1), update(2)], at_least=3)) == [1, 2]


@pytest.mark.parametrize(
    "urgent",
    [
        update(3, "failed"),
        update(3, critical=1),
        update(3, "unheard of"),
        StoredEvent(Cursor("e", 3), "notice", None, {}, datetime.now(UTC)),
        raw(3, {"status": "success"}),
        raw(3, {"status": "success", "task_run_id": "7"}),
    ],
    ids=["failed", "critical", "unknown status", "another type", "no run", "a run without a number"],
)
def test_what_is_urgent_comes_alone_and_in_its_place(urgent: StoredEvent) -> None:
    assert is_urgent(urgent)
    items = condense([update(1), update(2), urgent, update(4), update(5)], at_least=2)
    assert sequences(items) == [(0, 2), 3, (3, 5)]


@pytest.mark.parametrize("odd", ["many", 1.5, -1, True, [], {}, None, 10**30])
def test_counters_that_are_no_numbers_count_as_nothing(odd: Any) -> None:
    (digest,) = condense([update(1, high=odd, low=odd, verdict=odd), update(2, high=2, low=1)], at_least=2)
    assert isinstance(digest, Digest)
    assert (digest.counts["high"], digest.counts["low"], digest.counts["success"]) == (2, 1, 2)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
TYPES = st.sampled_from(["task_update", "task_progress", "findings_changed", "notice"])
DATA = st.dictionaries(
    st.sampled_from(["task_run_id", "status", "result_data"]),
    ANYTHING
    | st.sampled_from([*STATUSES, "failed"])
    | st.integers(1, 3)
    | st.dictionaries(st.sampled_from(["critical", "high", "verdict"]), ANYTHING, max_size=3),
    max_size=3,
)


@given(st.lists(st.tuples(DATA, TYPES), max_size=6))
def test_nothing_that_stands_in_the_log_raises(rows: list[tuple[dict[str, Any], str]]) -> None:
    items = condense([raw(place, data, type_) for place, (data, type_) in enumerate(rows, start=1)], at_least=1)
    assert all(0 <= count < 2**53 for item in items if isinstance(item, Digest) for count in item.counts.values())


@pytest.mark.parametrize("kind", ["new", "reappeared", "severity_changed"])
def test_changed_findings_are_urgent_when_one_is_critical_now(kind: str) -> None:
    assert is_urgent(changed(1, **{kind: {"critical": 1}}))


@pytest.mark.parametrize("kinds", [{}, {"new": {"high": 7}}, {"fixed": {"critical": 3}}])
def test_other_changed_findings_may_wait_and_be_counted(kinds: dict[str, Any]) -> None:
    calm = changed(3, **kinds)
    assert not is_urgent(calm)
    assert sequences(condense([update(1), update(2), calm, update(4), update(5)], at_least=4)) == [(0, 5)]
    assert sequences(condense([update(1), calm, update(4)], at_least=3)) == [1, 3, 4]


def test_a_storm_of_scans_that_changed_something_is_one_digest() -> None:
    storm = []
    for run in range(1, 11):
        storm.append(update(2 * run - 1, run=run, host=run, **ASSESSED))
        storm.append(changed(2 * run, new={"total": 3, "critical": 0}, fixed={"total": 1, "critical": 1}))
    (digest,) = condense(storm, at_least=5)
    assert isinstance(digest, Digest)
    assert (str(digest.since), str(digest.until)) == ("e-0", "e-20")
    counts = digest.counts
    assert (counts["events"], counts["success"], counts["changed"], counts["hosts"]) == (10, 10, 10, 10)
    assert (counts["new"], counts["fixed"], counts["reappeared"], counts["severity_changed"]) == (30, 10, 0, 0)


@pytest.mark.parametrize("odd", [None, 7, [], {"total": "many"}, {"total": -1}, {}])
def test_changes_that_are_no_numbers_count_as_nothing(odd: Any) -> None:
    (digest,) = condense([update(1), changed(2, fixed=odd), update(3)], at_least=2)
    assert isinstance(digest, Digest)
    assert (digest.counts["changed"], digest.counts["fixed"]) == (1, 0)


@pytest.mark.parametrize("odd", [None, 7, [], "critical", {"critical": "many"}])
def test_changed_findings_of_no_known_form_are_urgent(odd: Any) -> None:
    assert is_urgent(changed(1, new=odd))


def test_only_the_latest_progress_of_a_run_stays_and_none_of_a_run_that_ended() -> None:
    events = [progress(1, run=7), progress(2, run=8), progress(3, run=7), update(4, run=8), progress(5, run=9)]
    assert [event.cursor.sequence for event in latest_progress(events)] == [3, 4, 5]
    assert not is_urgent(events[0])


def test_progress_of_a_run_that_starts_again_stays() -> None:
    events = [update(1, run=7), update(2, "started", run=7), progress(3, run=7)]
    assert latest_progress(events) == events


def test_progress_stays_outside_a_digest_and_goes_within_one() -> None:
    events = [progress(1, run=91), update(2), progress(3, run=92), update(4), progress(5, run=93)]
    assert sequences(condense(events, at_least=2)) == [1, (1, 4), 5]


EVENTS = st.lists(
    st.one_of(
        st.builds(lambda run: ("progress", run), st.integers(1, 3)),
        st.builds(
            lambda status, critical: (status, critical), st.sampled_from([*STATUSES, "failed"]), st.integers(0, 1)
        ),
    ),
    max_size=30,
)


@given(EVENTS, st.integers(1, 6))
def test_every_update_is_shown_or_counted_once_and_in_order(kinds: list[tuple[str, int]], at_least: int) -> None:
    events = [
        progress(place, value) if kind == "progress" else update(place, kind, run=100 + place, critical=value)
        for place, (kind, value) in enumerate(kinds, start=1)
    ]
    items = condense(events, at_least)
    updates = [event for event in events if event.type == "task_update"]
    told: list[StoredEvent] = []
    for item in items:
        if isinstance(item, StoredEvent):
            told += [item] if item.type == "task_update" else []
            continue
        merged = [event for event in updates if item.since.sequence < event.cursor.sequence <= item.until.sequence]
        assert len(merged) == item.counts["events"] == sum(item.counts[status] for status in STATUSES) >= at_least
        assert all(may_be_merged(event) for event in merged)
        assert item.counts["vulnerabilities"] >= sum(item.counts[severity] for severity in SEVERITIES)
        told += merged
    assert told == updates
    cursors = [item.until if isinstance(item, Digest) else item.cursor for item in items]
    assert cursors == sorted(cursors, key=lambda cursor: cursor.sequence)
