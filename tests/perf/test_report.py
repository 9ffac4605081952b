"""What is written about the runs is what the runs found."""

import json
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from tests.perf.fanout.loads import FULL
from tests.perf.fanout.message import MARK, SIZE, message
from tests.perf.fanout.servers import FLOOR, OURS
from tests.perf.figures import Figure, short
from tests.perf.report import NOT_MEASURED, WISHES, render

STEADY = "1,000 clients, 50 messages/s"


def measured(cpu: float, busy: float = 0.5) -> dict[str, float]:
    figures = {"per_second": 50_000, "p50_ms": 5, "p99_ms": 12, "last_ms": 9, "joined": 1, "client_us": 3, "foreign": 0}
    return figures | {"cpu_us": cpu, "client_cpu_busy": busy, "bytes": 300}


def results(ours: list[float], floor: list[float], busy: float = 0.5) -> dict[str, Any]:
    runs = {
        OURS: [{"loads": {STEADY: measured(cpu, busy)}, "idle_kib": 2.5} for cpu in ours],
        FLOOR: [{"loads": {STEADY: measured(cpu)}, "idle_kib": 1.5} for cpu in floor],
    }
    return {"fanout-tcp": {"machine": {"CPUs": "2"}, "transport": "tcp", "result": runs}}


def row(page: str, start: str) -> list[str]:
    line = next(line for line in page.splitlines() if line.startswith(f"| {start} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([7.0], "7.00"),
        ([8.0, 6.0, 7.0], "7.00 (6.00 to 8.00)"),
        ([1, 2, 3, 4], "2.50 (1.00 to 4.00)"),
        ([50_123, 49_990, 50_001], "50,001 (49,990 to 50,123)"),
    ],
)
def test_a_figure_is_the_median_with_the_spread(values: list[float], text: str) -> None:
    assert str(Figure.of(values)) == text


def test_no_run_is_no_figure() -> None:
    with pytest.raises(ValueError, match="no run"):
        Figure.of([])


@pytest.mark.parametrize(("value", "text"), [(0.123, "0.12"), (12.34, "12.3"), (123.4, "123"), (12_345, "12,345")])
def test_a_number_has_the_digits_that_count(value: float, text: str) -> None:
    assert short(value) == text


def test_the_page_compares_medians_with_the_floor() -> None:
    page, _ = render(results([8.0, 9.0, 100.0], [6.0, 7.0, 8.0]), "picture.svg")
    assert row(page, f"**{OURS}**")[1:3] == ["9.00 (8.00 to 100)", "1.29"]
    assert row(page, FLOOR)[1:3] == ["7.00 (6.00 to 8.00)", "1.00"]
    assert "Medians of 3 alternating runs" in page


def test_the_page_says_how_much_others_disturbed() -> None:
    found = results([8.0, 9.0], [6.0, 7.0])
    found["fanout-tcp"]["result"][FLOOR][1]["loads"][STEADY]["foreign"] = 0.07
    assert "at most 7% meanwhile" in render(found, "picture.svg")[0]


@pytest.mark.parametrize(("ours", "kept"), [([8.7], "yes"), ([8.8], "**no**")])
def test_a_wish_is_kept_up_to_its_limit(ours: list[float], kept: str) -> None:
    page, _ = render(results(ours, [7.0]), "picture.svg")
    assert row(page, STEADY)[1:] == ["≤ 1.25 × C loop", f"{ours[0] / 7:.2f} × C loop", kept]  # noqa: RUF001


@pytest.mark.parametrize(("busy", "mark"), [(0.5, ""), (0.97, "†")])
def test_rates_are_marked_where_the_clients_were_the_limit(busy: float, mark: str) -> None:
    page, _ = render(results([8.0], [7.0], busy), "picture.svg")
    assert row(page, f"**{OURS}**")[3] == f"50,000{mark}"
    assert row(page, FLOOR)[3] == "50,000"


def test_what_was_not_measured_is_not_there() -> None:
    page, _ = render(results([8.0], [7.0]), "picture.svg")
    assert page.count(NOT_MEASURED) == 3


def test_the_picture_has_a_bar_for_each_server() -> None:
    _, picture = render(results([8.0], [7.0]), "picture.svg")
    texts = [item.text for item in ET.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]
    assert {OURS, FLOOR, "8.00 µs", "7.00 µs"} <= set(texts)


def test_every_wish_is_of_a_load_that_is_measured() -> None:
    assert {wish.load for wish in WISHES} <= {load.name for load in FULL}


@pytest.mark.parametrize("number", [0, 42, 999_999])
def test_a_message_has_its_size_and_says_which_it_is(number: int) -> None:
    text = message(number, at=123)
    assert len(text) == SIZE
    assert MARK.format(number=number, at=123) in json.loads(text)["data"]["task_name"]
    assert json.dumps(json.loads(text)) == text  # the naive loop encodes it again: it must not grow
