"""The reader of bbolt files, with Vuls's own ones and with what bad luck or ill will makes of them."""

import os
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from executor.bolt import NotBolt, read_value
from tests.bolt import PAGE, PAGE_HEADER, branch, leaf, meta, tree
from tests.database import BASE
from tests.harness import DEMO_DATA


def read(path: Path, content: bytes) -> bytes:
    path.write_bytes(content)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return read_value(descriptor, b"metadata", b"db")
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("name", ["base.db", "next.db"])
def test_the_value_is_read_from_a_database_that_vuls_reads(tmp_path: Path, name: str) -> None:
    value = read(tmp_path / "db", (DEMO_DATA / name).read_bytes())
    assert value.startswith(b'{"schema_version":0,"created_by":"vuls ')


def test_a_bucket_may_have_pages_of_its_own_below_branches(tmp_path: Path) -> None:
    content = tree(branch(2, 3), leaf(3, b"metadata", struct.pack("<QQ", 4, 0), 1), branch(4, 5), leaf(5, b"db", b"{}"))
    assert read(tmp_path / "db", content) == b"{}"


@pytest.mark.parametrize("lost", [0, 1])
def test_one_of_the_two_meta_pages_is_enough(tmp_path: Path, lost: int) -> None:
    content = bytearray(BASE)
    content[lost * PAGE + 20 : lost * PAGE + 80] = os.urandom(60)
    assert b"schema_version" in read(tmp_path / "db", bytes(content))


def test_without_a_meta_page_it_is_no_database(tmp_path: Path) -> None:
    content = bytearray(BASE)
    content[30] ^= 1
    content[PAGE + 30] ^= 1
    with pytest.raises(NotBolt, match="no bbolt file"):
        read(tmp_path / "db", bytes(content))


@pytest.mark.parametrize("size", [0, 1, 16, 79, 80, 3000, PAGE, 2 * PAGE, 4 * PAGE, 18 * PAGE])
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, size: int) -> None:
    with pytest.raises(NotBolt):
        read(tmp_path / "db", BASE[:size])


HOSTILE = {
    "nothing but noise": os.urandom(64 * 1024),
    "a page of a web site": b"<!DOCTYPE html><title>Sign in</title>" * 200,
    "a tree that goes round": tree(branch(2, 3), branch(3, 2)),
    "a page far away": tree(branch(2, 1 << 60)),
    "a root far away": meta(0, 1 << 63, 4) + meta(1, 1 << 63, 4) + bytes(2 * PAGE),
    "more pages than bytes": meta(0, 2, 1 << 62) + meta(1, 2, 1 << 62) + leaf(2, b"metadata", bytes(16), 1),
    "an empty branch": tree(PAGE_HEADER.pack(2, 1, 0, 0)),
    "a page that overflows the file": tree(PAGE_HEADER.pack(2, 2, 1, 0xFFFFFFFF)),
    "a page with another's number": tree(leaf(3, b"metadata", bytes(16), 1)),
    "more elements than there is room for": tree(PAGE_HEADER.pack(2, 2, 0xFFFF, 0)),
    "a key that lies outside": tree(PAGE_HEADER.pack(2, 2, 1, 0) + struct.pack("<IIII", 1, 0xFFFFFFF0, 8, 16)),
    "a key that is too long": tree(PAGE_HEADER.pack(2, 2, 1, 0) + struct.pack("<IIII", 1, 16, 0xFFFFFFFF, 16)),
    "a value that lies outside": tree(
        PAGE_HEADER.pack(2, 2, 1, 0) + struct.pack("<IIII", 1, 16, 8, 0xFFFFFFFF) + b"metadata"
    ),
    "a bucket shorter than its header": tree(leaf(2, b"metadata", b"short", 1)),
    "a bucket that is none": tree(leaf(2, b"metadata", bytes(32), 0)),
    "a bucket in place of a value": tree(
        leaf(2, b"metadata", struct.pack("<QQ", 3, 0), 1), leaf(3, b"db", bytes(16), 1)
    ),
    "no such bucket": tree(leaf(2, b"another", bytes(32), 1)),
    "no such key": tree(leaf(2, b"metadata", struct.pack("<QQ", 3, 0), 1), leaf(3, b"dc", b"{}")),
    "an odd size of pages": meta(0, 2, 3, size=0) + meta(1, 2, 3, size=0) + bytes(PAGE),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_what_cannot_be_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(NotBolt):
        read(tmp_path / "db", content)


@pytest.fixture
def looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the places of the bytes that matter: those that are read on the way to the value."""
    places: set[int] = set()
    real = os.pread

    def noting(descriptor: int, length: int, start: int) -> bytes:
        places.update(range(start, start + length))
        return real(descriptor, length, start)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", noting)
        read(tmp_path / "db", BASE)
    return sorted(places)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipped_bytes_give_a_value_or_a_refusal_and_nothing_else(
    tmp_path: Path, looked_at: list[int], data: st.DataObject
) -> None:
    flip = st.tuples(st.sampled_from(looked_at), st.integers(1, 255))
    content = bytearray(BASE)
    for place, change in data.draw(st.lists(flip, min_size=1, max_size=12)):
        content[place] ^= change
    with suppress(NotBolt):
        read(tmp_path / "db", bytes(content))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pages=st.lists(st.binary(max_size=120), min_size=1, max_size=4),
    kinds=st.lists(st.sampled_from([1, 2]), min_size=4, max_size=4),
)
def test_pages_of_noise_behind_whole_meta_pages_do_no_harm(
    tmp_path: Path, pages: list[bytes], kinds: list[int]
) -> None:
    made = [
        PAGE_HEADER.pack(number, kind, 3, 0) + page
        for number, (page, kind) in enumerate(zip(pages, kinds, strict=False), start=2)
    ]
    with pytest.raises(NotBolt):
        read(tmp_path / "db", tree(*made))
