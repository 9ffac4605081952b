"""Makes bbolt files, whole ones and others."""

import struct

PAGE = 4096
META = struct.Struct("<IIIIQQQQQQ")
PAGE_HEADER = struct.Struct("<QHHI")


def fnv1a(data: bytes) -> int:
    """Return the 64-bit FNV-1a hash."""
    found = 0xCBF29CE484222325
    for byte in data:
        found = (found ^ byte) * 0x100000001B3 % (1 << 64)
    return found


def meta(page: int, root: int, pages: int, size: int = PAGE) -> bytes:
    """Return a whole meta page of a transaction that comes last."""
    body = META.pack(0xED0CDAED, 2, size, 0, root, 0, 2, pages, 1 << 40, 0)[:-8]
    return (PAGE_HEADER.pack(page, 4, 0, 0) + body + struct.pack("<Q", fnv1a(body))).ljust(PAGE, b"\0")


def tree(*pages: bytes) -> bytes:
    """Return a file whose tree begins at page 2."""
    return meta(0, 2, 2 + len(pages)) + meta(1, 2, 2 + len(pages)) + b"".join(page.ljust(PAGE, b"\0") for page in pages)


def branch(number: int, below: int, key: bytes = b"") -> bytes:
    """Return a page with one page below."""
    return PAGE_HEADER.pack(number, 1, 1, 0) + struct.pack("<IIQ", 16, len(key), below) + key


def leaf(number: int, key: bytes, value: bytes, flags: int = 0) -> bytes:
    """Return a page with one key and its value."""
    return PAGE_HEADER.pack(number, 2, 1, 0) + struct.pack("<IIII", flags, 16, len(key), len(value)) + key + value
