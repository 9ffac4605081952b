"""Reads a bbolt file, the format of the database that Vuls itself opens. Just enough of it: no writing, no cursor.

The format: pages of equal size, numbered from 0. Pages 0 and 1 hold the meta data, of which the valid one with the
greater transaction number counts; it names the root of a B+ tree whose leaves hold keys with values, and whose values
may be buckets: trees of their own, or a leaf written into the value.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

Tree = dict[str, "bytes | Tree"]

_MAGIC = 0xED0CDAED
_VERSION = 2
_SMALLEST = 2 * 4096
_PAGE_HEADER = struct.Struct("<QHHI")
_META = struct.Struct("<IIIIQQQQQ")
_BRANCH = struct.Struct("<IIQ")
_LEAF = struct.Struct("<IIII")
_BUCKET = struct.Struct("<QQ")
_IS_BRANCH, _IS_LEAF = 1, 2
_HOLDS_BUCKET = 1


class BoltError(Exception):
    """The file is no bbolt database; the message is the one that bbolt gives."""


def read(path: Path) -> Tree:
    """Read a whole database. Raises BoltError, or OSError when the file cannot be read."""
    data = path.read_bytes()
    if len(data) < _SMALLEST:
        raise BoltError("file size too small", len(data))
    metas = [meta for start in (0, _SMALLEST // 2) if (meta := _meta(data, start))]
    if not metas:
        raise BoltError("invalid database")
    _, page_size, root = max(metas)
    try:
        return _Reader(data, page_size).tree(root)
    except (struct.error, OverflowError, UnicodeDecodeError, RecursionError) as error:
        raise BoltError("invalid page") from error


class _Reader:
    def __init__(self, data: bytes, page_size: int) -> None:
        self._data = data
        self._page_size = page_size

    def tree(self, page: int) -> Tree:
        return dict(self._page(self._data, page * self._page_size))

    def _page(self, data: bytes, start: int) -> Iterator[tuple[str, "bytes | Tree"]]:
        _, flags, count, _ = _PAGE_HEADER.unpack_from(data, start)
        first = start + _PAGE_HEADER.size
        if flags & _IS_BRANCH:
            for item in range(count):
                _, _, child = _BRANCH.unpack_from(data, first + item * _BRANCH.size)
                yield from self._page(self._data, child * self._page_size)
        elif flags & _IS_LEAF:
            for item in range(count):
                yield self._leaf(data, first + item * _LEAF.size)
        else:
            raise BoltError("invalid page")

    def _leaf(self, data: bytes, start: int) -> tuple[str, "bytes | Tree"]:
        flags, position, key_size, value_size = _LEAF.unpack_from(data, start)
        middle = start + position + key_size
        key = data[start + position : middle].decode()
        value = data[middle : middle + value_size]
        if not flags & _HOLDS_BUCKET:
            return key, value
        root, _ = _BUCKET.unpack_from(value)
        return key, self.tree(root) if root else dict(self._page(value, _BUCKET.size))


def _meta(data: bytes, page: int) -> tuple[int, int, int] | None:
    """Return transaction number, page size and root of a meta page, or None when it is not valid."""
    start = page + _PAGE_HEADER.size
    magic, version, page_size, _, root, _, _, _, transaction = _META.unpack_from(data, start)
    end = start + _META.size
    checksum = int.from_bytes(data[end : end + 8], "little")
    if (magic, version) != (_MAGIC, _VERSION) or checksum != _fnv1a(data[start:end]):
        return None
    return transaction, page_size, root


def _fnv1a(data: bytes) -> int:
    """64-bit FNV-1a, bbolt's checksum."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value
