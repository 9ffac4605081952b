"""What may be stored as an event fits the schemas, and can be held everywhere."""

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.domain.cursor import Cursor
from app.domain.digest import condense
from app.domain.envelope import TASK_PROGRESS, TASK_UPDATE, StoredEvent, envelope, task_update_data
from app.domain.event_check import MAX_DATA, MAX_DEPTH, BadEventError, check_event
from app.domain.messages import MAX_COUNT, TaskProgress, TaskUpdate

AT = datetime(2025, 6, 27, 15, 49, 26, 760966, tzinfo=UTC)


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def update(**more: Any) -> dict[str, Any]:
    return task_update_data(0, 1, "success", "Scan", {}, AT) | more


def result(**data: Any) -> dict[str, Any]:
    return update(result_data=data)


def test_what_a_scan_says_is_let_through() -> None:
    counts = {"vulnerabilities": 9, "critical": 2, "high": 2, "medium": 3, "low": 1, "unknown": 1}
    check_event(TASK_UPDATE, result(scan_id=23, verdict="assessed", **counts) | {"host_id": 1, "host_name": "web-1"})
    check_event(TASK_UPDATE, result(scan_id=None, verdict="failed", reason={"code": "x", "sentence": "y"}, high=None))
    check_event(TASK_UPDATE, result(test="data", what={"it": ["likes", 1.5, None, True]}))
    check_event("notice", {"number": 1})


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (result(high="many"), "result_data.high: Input should be a valid integer, not 'many'"),
        (result(high=-1), "result_data.high: Input should be greater than or equal to 0"),
        (result(high=True), "result_data.high: Input should be a valid integer"),
        (result(high=MAX_COUNT + 1), "result_data.high: Input should be less than or equal to 1000000000"),
        (result(vulnerabilities=[]), "result_data.vulnerabilities: Input should be"),
        (result(verdict=["assessed"]), "result_data.verdict: Input should be 'assessed', 'not_assessed' or 'failed'"),
        (result(reason="x"), "result_data.reason: Input should be a valid dictionary"),
        (result(reason={"code": "x"}), "result_data.reason.sentence: Field required"),
        (result(demo="no"), "result_data.demo: Input should be a valid boolean"),
        (result(a=math.inf), "result_data.a is a number that browsers cannot hold: inf"),
        (result(a=[math.nan]), r"result_data.a\[0\] is a number"),
        (result(a=2**64), "result_data.a is a number"),
        (result(a=b"x"), "result_data.a is nothing that JSON can say"),
        (result(a="\ud800"), "result_data.a is no text in UTF-8"),
        (result(**{"\ud800": 1}), "result_data is no text in UTF-8"),
        (update(result_data={1: 1}), "result_data is no text"),
        (result(a="x" * MAX_DATA), "bytes of data: at most 32768"),
        (result(a=["x"] * (MAX_DATA // 5)), "bytes of data"),
        (result(a=[1e-300] * 1000), "bytes of data"),
        (result(a=nested(MAX_DEPTH - 1)), "nested deeper than 16 levels"),
        (result(a=nested(900)), "nested deeper than 16 levels"),
        ({key: value for key, value in update().items() if key != "task_run_id"}, "task_run_id: Field required"),
        (update(task_run_id="7"), "task_run_id: Input should be a valid integer, not '7'"),
        (update(task_run_id=True), "task_run_id: Input should be"),
        (update(status="done"), "status: Input should be 'queued', 'started'"),
        (update(status=["success"]), "status: Input should be"),
        (update(task_name=None), "task_name: Input should be a valid string"),
        (update(result_data=None), "result_data: Input should be a valid dictionary"),
        (update(timestamp="2025-06-27T15:49:26Z"), "timestamp: String should match pattern"),
        (update(host_id="x" * 1000), r"host_id: Input should be a valid integer, not 'x{56}\.\.\."),
    ],
)
def test_what_does_not_fit_is_refused_with_the_place_and_what_would(data: dict[str, Any], said: str) -> None:
    with pytest.raises(BadEventError, match=said):
        check_event(TASK_UPDATE, data)


@pytest.mark.parametrize("type_", ["hello", "resync_required", "unreadable", ""])
def test_types_that_are_no_events_are_refused(type_: str) -> None:
    with pytest.raises(BadEventError, match="there are no events of type"):
        check_event(type_, {})


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
NAMES = ("high", "verdict", "reason", "scan_id", "demo", "other")
RESULTS = st.dictionaries(st.sampled_from(NAMES), VALUES | st.integers(-2, 5) | st.just("failed"), max_size=3)
CHANGES = st.dictionaries(
    st.sampled_from(["task_id", "task_run_id", "status", "task_name", "timestamp", "host_id", "host_name", "percent"]),
    VALUES | st.integers(-2, 200) | st.sampled_from(["queued", "2025-06-27T15:49:26"]),
    max_size=2,
)
CHECKS: list[tuple[str, Callable[[Any], Any]]] = [
    (TASK_UPDATE, TaskUpdate.model_validate),
    (TASK_PROGRESS, TaskProgress.model_validate),
]


@pytest.mark.parametrize(("type_", "validate"), CHECKS)
@given(result_data=RESULTS, changes=CHANGES)
def test_what_is_let_through_fits_the_schema_and_can_be_encoded_and_counted(
    type_: str, validate: Callable[[Any], Any], result_data: Any, changes: Any
) -> None:
    data = update(result_data=result_data, phase="scan") | changes
    event = StoredEvent(Cursor("k3f9", 1842), type_, 1, data, AT)
    try:
        check_event(type_, data)
    except BadEventError:
        return
    validate(orjson.loads(orjson.dumps(envelope(event))))
    assert len(json.dumps(data, ensure_ascii=False).encode()) <= MAX_DATA
    condense([event], 1)


@pytest.mark.parametrize(("type_", "validate"), CHECKS)
@given(result_data=RESULTS, changes=CHANGES)
def test_what_is_refused_would_not_fit_or_not_be_held_everywhere(
    type_: str, validate: Callable[[Any], Any], result_data: Any, changes: Any
) -> None:
    data = update(result_data=result_data, phase="scan") | changes
    try:
        check_event(type_, data)
    except BadEventError as error:
        if any(word in str(error) for word in ("browsers", "UTF-8", "deeper", "bytes")):
            return
        with pytest.raises(ValidationError):
            validate({"type": type_, "id": "k3f9-1842", "data": data})
