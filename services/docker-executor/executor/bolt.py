"""Reads one value out of a bbolt file, from wherever it comes: nothing in the file is trusted.

The form is that of go.etcd.io/bbolt v1.4 (internal/common: page.go, meta.go, bucket.go), little-endian:
page    id u64, flags u16, count u16, overflow u32; then `count` elements of 16 bytes, then keys and values
meta    magic, version, page size, flags u32; root bucket (page u64, sequence u64); freelist, high water, transaction,
        checksum u64 (FNV-1a of what stands before it). Pages 0 and 1 have one each; the later valid one counts.
branch  element: position u32 (from the element's own start), key size u32, page u64
leaf    element: flags u32 (1: a bucket), position, key size, value size u32
bucket  a leaf's value: root page u64, sequence u64; with root 0 its only page follows in the value itself
Memory and reads are bounded whatever the file says: a page is searched by halves, a tree is no deeper than `_DEPTH`.
"""

import os
import struct
from dataclasses import dataclass

_MAGIC = 0xED0CDAED
_VERSION = 2
_BRANCH, _LEAF, _META = 1, 2, 4
_BUCKET = 1
_PAGE = struct.Struct("<QHHI")
_META_BODY = struct.Struct("<IIIIQQQQQQ")
_CHECKED = _META_BODY.size - 8
_BRANCH_ELEMENT = struct.Struct("<IIQ")
_LEAF_ELEMENT = struct.Struct("<IIII")
_BUCKET_HEADER = struct.Struct("<QQ")
_ELEMENT = 16
_PAGE_SIZES = tuple(1024 << power for power in range(7))
_DEPTH = 32
_KEY_LIMIT = 32768
_VALUE_LIMIT = 65536


class NotBolt(Exception):  # noqa: N818
    """The file is not a whole bbolt file, or lacks what was asked for; the text ends a sentence that says which."""


@dataclass(frozen=True, slots=True)
class _Span:
    """Bytes of the file, from `start` up to `end`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Meta:
    page_size: int
    root: int
    pages: int
    transaction: int


def read_value(descriptor: int, bucket: bytes, key: bytes) -> bytes:
    """Return the value of `key` in the top-level `bucket`, of at most 64 KiB. Raises NotBolt and OSError."""
    file = _File(descriptor)
    header = file.find(file.page(file.meta.root), bucket, _BUCKET)
    root, _ = _BUCKET_HEADER.unpack(file.read(header, header.start, _BUCKET_HEADER.size))
    top = file.page(root) if root else _Span(header.start + _BUCKET_HEADER.size, header.end)
    value = file.find(top, key, 0)
    if value.end - value.start > _VALUE_LIMIT:
        raise NotBolt(f"the value of {key.decode()} is too large")
    return file.read(value, value.start, value.end - value.start)


class _File:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._whole = _Span(0, os.fstat(descriptor).st_size)
        self.meta = self._newest_meta()
        used = self.meta.pages * self.meta.page_size
        if used > self._whole.end:
            raise NotBolt(f"it is cut short: {self._whole.end} bytes of at least {used}")
        self._whole = _Span(0, used)

    def read(self, within: _Span, start: int, length: int) -> bytes:
        """Return bytes that must lie in `within`."""
        if start < within.start or start + length > within.end:
            raise NotBolt("a part of it lies where it cannot be")
        found = os.pread(self._descriptor, length, start)
        if len(found) != length:
            raise NotBolt("it became shorter while it was read")
        return found

    def page(self, number: int) -> _Span:
        """Return the page and the pages that it flows over into."""
        start = number * self.meta.page_size
        own, _, _, overflow = _PAGE.unpack(self.read(self._whole, start, _PAGE.size))
        end = start + (overflow + 1) * self.meta.page_size
        if own != number or end > self._whole.end:
            raise NotBolt(f"page {number} is damaged")
        return _Span(start, end)

    def find(self, page: _Span, key: bytes, flags: int) -> _Span:
        """Return where the value of `key` is, in the tree below `page`; `flags` are those of its element."""
        for _ in range(_DEPTH):
            _, kind, count, _ = _PAGE.unpack(self.read(page, page.start, _PAGE.size))
            if kind == _LEAF:
                return self._find_in_leaf(page, count, key, flags)
            if kind != _BRANCH or not count:
                break
            at = max(self._last_up_to(page, count, key, kind), 0)
            _, _, below = _BRANCH_ELEMENT.unpack(self._element(page, at))
            page = self.page(below)
        raise NotBolt("its tree of pages is damaged")

    def _find_in_leaf(self, page: _Span, count: int, key: bytes, flags: int) -> _Span:
        at = self._last_up_to(page, count, key, _LEAF)
        if at < 0 or self._key(page, at, _LEAF) != key:
            raise NotBolt(f"it has no {key.decode()}")
        found, position, key_size, value_size = _LEAF_ELEMENT.unpack(self._element(page, at))
        start = page.start + _PAGE.size + at * _ELEMENT + position + key_size
        if found != flags or start + value_size > page.end:
            raise NotBolt(f"its {key.decode()} is damaged")
        return _Span(start, start + value_size)

    def _last_up_to(self, page: _Span, count: int, key: bytes, kind: int) -> int:
        """Return the index of the last element whose key is not beyond `key`; -1 when there is none."""
        low, high = 0, count
        while low < high:
            middle = (low + high) // 2
            if self._key(page, middle, kind) <= key:
                low = middle + 1
            else:
                high = middle
        return low - 1

    def _key(self, page: _Span, at: int, kind: int) -> bytes:
        raw = self._element(page, at)
        position, size = _BRANCH_ELEMENT.unpack(raw)[:2] if kind == _BRANCH else _LEAF_ELEMENT.unpack(raw)[1:3]
        if size > _KEY_LIMIT:
            raise NotBolt("a key in it is too long")
        return self.read(page, page.start + _PAGE.size + at * _ELEMENT + position, size)

    def _element(self, page: _Span, at: int) -> bytes:
        return self.read(page, page.start + _PAGE.size + at * _ELEMENT, _ELEMENT)

    def _newest_meta(self) -> _Meta:
        found = [meta for place in (0, *_PAGE_SIZES) if (meta := self._meta(place)) is not None]
        if not found:
            raise NotBolt("it is no bbolt file")
        return max(found, key=lambda meta: meta.transaction)

    def _meta(self, place: int) -> _Meta | None:
        """Return the valid meta page that starts at `place`, which is 0 or the size of a page."""
        if place + _PAGE.size + _META_BODY.size > self._whole.end:
            return None
        _, kind, _, _ = _PAGE.unpack(self.read(self._whole, place, _PAGE.size))
        body = self.read(self._whole, place + _PAGE.size, _META_BODY.size)
        magic, version, size, _, root, _, _, pages, transaction, checksum = _META_BODY.unpack(body)
        if (magic, version, kind, checksum) != (_MAGIC, _VERSION, _META, _fnv1a(body[:_CHECKED])):
            return None
        if size not in _PAGE_SIZES or place not in (0, size):
            return None
        return _Meta(size, root, pages, transaction)


def _fnv1a(data: bytes) -> int:
    """Return the 64-bit FNV-1a hash (draft-eastlake-fnv)."""
    found = 0xCBF29CE484222325
    for byte in data:
        found = (found ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return found
