"""Messages have the documented form."""

from datetime import UTC, datetime, timedelta, timezone

from app.domain.cursor import Cursor
from app.domain.envelope import StoredEvent, envelope, task_update_data

AT = datetime(2025, 6, 27, 15, 49, 26, 760966, tzinfo=UTC)


def test_an_update_has_the_six_fields_and_its_cursor() -> None:
    data = task_update_data(0, 15, "success", "Scan anisette_v3", {"scan_id": 23}, AT)
    event = StoredEvent(Cursor("k3f9", 1842), "task_update", 1, data, AT)
    assert envelope(event) == {
        "type": "task_update",
        "id": "k3f9-1842",
        "data": {
            "task_id": 0,
            "task_run_id": 15,
            "status": "success",
            "task_name": "Scan anisette_v3",
            "result_data": {"scan_id": 23},
            "timestamp": "2025-06-27T15:49:26.760966",
        },
    }


def test_the_timestamp_is_utc_without_a_zone_and_always_of_one_length() -> None:
    local = datetime(2025, 6, 27, 17, 0, tzinfo=timezone(timedelta(hours=2)))
    assert task_update_data(0, 1, "queued", "x", {}, local)["timestamp"] == "2025-06-27T15:00:00.000000"
