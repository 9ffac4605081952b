"""The difference of two assessed scans: complete, exact, and bounded where it is told."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.difference import MAX_IDS, TOLD, Change, Changed, difference, is_worth_telling, summary
from app.domain.envelope import FINDINGS_CHANGED
from app.domain.event_check import check_event
from app.domain.severity import Severity
from app.domain.vuls_result import VulsResult
from tests.recordings import Recording

HIGH, LOW, CRITICAL = Severity.HIGH, Severity.LOW, Severity.CRITICAL


def severities(recording: str) -> dict[str, Severity]:
    read = VulsResult.parse(Recording(recording).result("t1"))
    return {found.cve_id: found.severity for found in read.findings}


def test_the_recorded_databases_differ_by_two_new_and_one_fixed() -> None:
    changes = difference(severities("report-ok"), severities("report-ok-next"), severities("report-ok").keys())
    assert [(one.cve_id, one.change) for one in changes] == [
        ("CVE-2099-0009", Change.FIXED),
        ("CVE-2099-0011", Change.NEW),
        ("CVE-2099-0012", Change.NEW),
    ]
    back = difference(severities("report-ok-next"), severities("report-ok"), {"CVE-2099-0009"})
    assert [(one.cve_id, str(one.change)) for one in back] == [
        ("CVE-2099-0009", "reappeared"),
        ("CVE-2099-0011", "fixed"),
        ("CVE-2099-0012", "fixed"),
    ]


@pytest.mark.parametrize(
    ("previous", "found", "known", "changes"),
    [
        (None, {"A": HIGH}, [], [Changed("A", Change.BASELINE, HIGH)]),
        (None, {"A": HIGH}, ["A"], [Changed("A", Change.BASELINE, HIGH)]),
        ({}, {}, [], []),
        ({}, {"A": HIGH}, [], [Changed("A", Change.NEW, HIGH)]),
        ({}, {"A": HIGH}, ["A"], [Changed("A", Change.REAPPEARED, HIGH)]),
        ({"A": HIGH}, {"A": HIGH}, ["A"], []),
        ({"A": LOW}, {"A": CRITICAL}, ["A"], [Changed("A", Change.SEVERITY_CHANGED, CRITICAL, LOW)]),
        ({"A": LOW}, {}, ["A"], [Changed("A", Change.FIXED, LOW)]),
    ],
)
def test_each_kind_of_change(
    previous: dict[str, Severity] | None, found: dict[str, Severity], known: list[str], changes: list[Changed]
) -> None:
    assert difference(previous, found, known) == changes
    assert is_worth_telling(changes) is (previous is not None and changes != [])


SCAN = st.dictionaries(st.sampled_from("ABCDEFGH"), st.sampled_from(Severity))


@given(previous=SCAN, found=SCAN, known=st.sets(st.sampled_from("ABCDEFGH")))
def test_the_changes_lead_from_one_scan_to_the_other(
    previous: dict[str, Severity], found: dict[str, Severity], known: set[str]
) -> None:
    changes = difference(previous, found, known | previous.keys())
    reached = dict(previous)
    for one in changes:
        if one.change is Change.FIXED:
            assert reached.pop(one.cve_id) == one.severity
        else:
            assert one.before == reached.get(one.cve_id) != one.severity
            reached[one.cve_id] = one.severity
    assert reached == found
    assert {one.cve_id for one in changes if one.change is Change.REAPPEARED} == known & found.keys() - previous.keys()
    told = summary(changes)
    assert set(told) == set(map(str, TOLD))
    for kind in told.values():
        assert kind["total"] == sum(kind[severity] for severity in Severity) == len(kind["cve_ids"])
    assert sum(kind["total"] for kind in told.values()) == len(changes)


def test_the_event_names_the_worst_counts_all_and_stays_small() -> None:
    def ids(letter: str, count: int) -> list[str]:
        return [f"{letter}{number:063}" for number in range(count)]

    previous = dict.fromkeys(ids("F", 400), LOW) | dict.fromkeys(ids("S", 400), LOW)
    found = dict.fromkeys(ids("S", 400), HIGH) | dict.fromkeys(ids("R", 400), LOW)
    found |= dict.fromkeys(ids("N", 5000), LOW) | {"Z": CRITICAL}
    told = summary(difference(previous, found, ids("R", 400)))
    assert {name: kind["total"] for name, kind in told.items()} == {
        "new": 5001, "fixed": 400, "severity_changed": 400, "reappeared": 400,
    }  # fmt: skip
    new: dict[str, Any] = told["new"]
    assert (new["critical"], new["low"], len(new["cve_ids"]), new["cve_ids"][0]) == (1, 5000, MAX_IDS, "Z")
    row = {"host_id": 2**53 - 1, "host_name": "h" * 63, "scan_id": 2**53 - 1, "task_run_id": 2**53 - 1}
    check_event(FINDINGS_CHANGED, row | told | {"timestamp": "2025-06-27T15:49:26.760966"})
