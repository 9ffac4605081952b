"""Waits grow exponentially up to a limit."""

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from app.domain.backoff import delays


def test_delays_double_up_to_the_greatest() -> None:
    assert list(islice(delays(1, 30, jitter=0), 7)) == [1, 2, 4, 8, 16, 30, 30]


@given(st.floats(0.01, 10), st.floats(10, 100), st.floats(0, 0.9))
def test_jitter_only_shortens(first: float, greatest: float, jitter: float) -> None:
    plain = islice(delays(first, greatest, jitter=0), 10)
    for exact, jittered in zip(plain, delays(first, greatest, jitter), strict=False):
        assert exact * (1 - jitter) <= jittered <= exact
