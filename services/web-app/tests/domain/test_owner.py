"""How the owner of a run is written."""

import pytest

from app.domain.owner import Owner, nobody_of


@pytest.mark.parametrize(
    ("text", "owner"),
    [
        ("scan-1:4711:815:0a1b2c3d", Owner("scan-1", 4711, 815)),
        ("scan-1:4711:0a1b2c3d", Owner("scan-1", 4711, None)),  # as an earlier release wrote it
        ("scan-1:", Owner("scan-1", None, None)),
        ("scan-1", Owner("scan-1", None, None)),
        ("scan-1:x:y:z", Owner("scan-1", None, None)),
        ("", Owner("", None, None)),
    ],
)
def test_an_owner_is_read_from_what_releases_write(text: str, owner: Owner) -> None:
    assert Owner.parse(text) == owner


def test_a_run_that_was_let_go_is_of_a_host_and_no_process() -> None:
    assert Owner.parse(nobody_of("scan-1")) == Owner("scan-1", None, None)
