"""Debian's version order: the examples of deb-version(7), the laws of an order, and dpkg itself as the judge."""

import random
import shutil
import subprocess

import pytest
from demo_report.dpkg import compare, parse

SEED = 20991231


def versions(count: int) -> list[str]:
    """Valid versions from a small alphabet, so that near misses are common; the same ones in every run."""
    # Not for secrets: the same numbers each time are the point.
    source = random.Random(SEED)
    made: list[str] = []
    while len(made) < count:
        epoch = source.choice(["", "", "0:", "1:", "10:"])
        upstream = source.choice("0129") + "".join(source.choices("009aZ~+.", k=source.randrange(6)))
        revision = "".join(source.choices("09a~+.", k=source.randrange(4)))
        made.append(f"{epoch}{upstream}-{revision}" if revision else f"{epoch}{upstream}")
    return made


@pytest.mark.parametrize(
    "ascending",
    [
        ["1.0~~", "1.0~~a", "1.0~", "1.0", "1.0a", "1.0+b1", "1.0.1", "1.9", "1.10"],
        ["1.0-1~deb12u1", "1.0-1", "1.0-1+deb12u1", "1.0-1+deb12u2", "1.0-1+deb12u10", "1.0-2"],
        ["99.0", "1:0.1", "1:1.0", "2:0"],
        ["1:1.2.13.dfsg-1", "1:1.3.dfsg+really1.3.1-1+deb13u1"],
    ],
)
def test_versions_are_ordered_as_documented(ascending: list[str]) -> None:
    for position, older in enumerate(ascending):
        assert compare(older, older) == 0
        for newer in ascending[position + 1 :]:
            assert (compare(older, newer), compare(newer, older)) == (-1, 1), (older, newer)


@pytest.mark.parametrize(("left", "right"), [("1.0", "1.0-0"), ("0:1.0", "1.0"), ("1.00", "1.0"), ("1.0-01", "1.0-1")])
def test_versions_that_only_look_different_are_equal(left: str, right: str) -> None:
    assert compare(left, right) == 0


def test_a_hyphen_in_the_upstream_part_stays_there() -> None:
    assert parse("2:1.0-rc1-3") == (2, "1.0-rc1", "3")


@pytest.mark.parametrize("text", ["", "1:", "x:1.0", "-1"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no upstream|invalid literal"):
        parse(text)


def test_the_order_is_antisymmetric_and_transitive() -> None:
    made = versions(120)
    for a in made:
        for b in made:
            assert compare(a, b) == -compare(b, a)
    for a, b, c in zip(made, made[40:], made[80:], strict=False):
        if compare(a, b) <= 0 and compare(b, c) <= 0:
            assert compare(a, c) <= 0


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="dpkg is not installed")
def test_dpkg_agrees() -> None:
    made = versions(600)
    pairs = list(zip(made[::2], made[1::2], strict=True))
    script = "\n".join(
        f"for op in lt eq gt; do dpkg --compare-versions '{a}' $op '{b}' && echo $op; done" for a, b in pairs
    )
    done = subprocess.run(["sh"], input=script, capture_output=True, text=True, timeout=120, check=False)
    answers = done.stdout.split()
    assert done.stderr == ""
    assert answers == [{-1: "lt", 0: "eq", 1: "gt"}[compare(a, b)] for a, b in pairs]
