"""The second opinion that the fuzzer trusts."""

import pytest

from tests.chaos.autobahn import CASES
from tests.chaos.verdict import judge


@pytest.mark.parametrize("name", CASES)
def test_it_agrees_with_the_table(name: str) -> None:
    case = CASES[name]
    verdict = judge(case.sent)
    if case.code is None:
        assert (verdict.ends, verdict.pongs, verdict.texts) == (set(), case.pongs, case.texts)
    else:
        assert (case.code or None) in verdict.ends
