import re
from pathlib import Path

import pytest

from app.domain import names

EXECUTOR_TARGETS = Path(__file__).parents[3] / "docker-executor/executor/targets.py"


@pytest.mark.parametrize("name", ["a", "_", "9", "_web", "web-", "web--1", "a" * 63])
def test_a_host_is_called_anything_that_vuls_takes_for_a_name(name: str) -> None:
    assert re.search(names.HOST, name)


@pytest.mark.parametrize("name", ["", "-", "-debug", "--", "web.1", "web 1", "../etc", "wéb", "a" * 64])
def test_a_host_is_called_nothing_that_vuls_takes_for_something_else(name: str) -> None:
    assert not re.search(names.HOST, name)


def test_the_executor_takes_the_same_names() -> None:
    assert f'ServerName = Annotated[str, StringConstraints(pattern=r"{names.HOST}")]' in EXECUTOR_TARGETS.read_text()
