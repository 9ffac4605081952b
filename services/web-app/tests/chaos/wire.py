"""The client's side of RFC 6455 by hand: sends what no library would send, and reads with little CPU."""

import re
import socket
import struct
from collections import deque
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import Self

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
MASK = b"\x37\xfa\x21\x3d"
TIMEOUT = 20  # seconds that an answer may take on a busy machine


class Op(IntEnum):
    """Opcodes of RFC 6455, section 5.2."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


def masked(payload: bytes, mask: bytes = MASK) -> bytes:
    """Return `payload` under `mask`."""
    if mask == bytes(4):
        return payload
    whole = (mask * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload) ^ int.from_bytes(whole)).to_bytes(len(payload))


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    reserved: int = 0,
    mask: bytes | None = MASK,
    length_bits: int = 0,
    length: int | None = None,
) -> bytes:
    """Return a frame. `length_bits` (7, 16, 64) forces a form of the length, `length` a wrong one; no mask: bare."""
    size = len(payload) if length is None else length
    bits = length_bits or (7 if size < 126 else 16 if size < 65536 else 64)
    first = (0x80 if fin else 0) | reserved << 4 | opcode
    flag = 0 if mask is None else 0x80
    head = {
        7: lambda: struct.pack("!BB", first, flag | size),
        16: lambda: struct.pack("!BBH", first, flag | 126, size),
        64: lambda: struct.pack("!BBQ", first, flag | 127, size),
    }[bits]()
    return head + (payload if mask is None else mask + masked(payload, mask))


def close_frame(code: int | None = None, reason: bytes = b"") -> bytes:
    """Return a close frame, empty without a code."""
    return frame(Op.CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


def request(
    headers: Mapping[str, str], path: str = "/api/ws", replaced: Mapping[str, str | None] | None = None
) -> bytes:
    """Return the request of a handshake; `replaced` changes headers, None takes one out."""
    lines: dict[str, str | None] = {
        "Host": "vuls.example",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
        **headers,
        **(replaced or {}),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value is not None)
    return f"GET {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1")


def take_frames(buffer: bytearray) -> list[tuple[int, bytes]]:
    """Take the whole frames off `buffer` (a server's: unmasked and, here, never fragmented)."""
    found, start, end = [], 0, len(buffer)
    while end - start >= 2:
        size, at = buffer[start + 1], start + 2
        if size >= 126:
            form = "!H" if size == 126 else "!Q"
            if end - at < struct.calcsize(form):
                break
            (size,) = struct.unpack_from(form, buffer, at)
            at += struct.calcsize(form)
        if end - at < size:
            break
        found.append((buffer[start] & 15, bytes(buffer[at : at + size])))
        start = at + size
    del buffer[:start]
    return found


class Peer:
    """A blocking connection to an instance's socket."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(TIMEOUT)
        self.socket.connect(str(path))
        self.buffer = bytearray()
        self.last_status = 0
        self._frames: deque[tuple[int, bytes]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send all of `data`; a server that has hung up already shows when it is read from."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return

    def read_more(self) -> bool:
        """Wait for more bytes; False at the end of the connection."""
        try:
            part = self.socket.recv(65536)
        except ConnectionResetError:
            return False
        self.buffer += part
        return bool(part)

    def read_head(self) -> bytes:
        """Return the head of an HTTP answer; what the server sent by then if it hung up first."""
        while b"\r\n\r\n" not in self.buffer:
            if not self.read_more():
                break
        head, _, rest = bytes(self.buffer).partition(b"\r\n\r\n")
        self.buffer = bytearray(rest)
        self._frames.extend(take_frames(self.buffer))
        return head

    def status(self) -> int:
        """Return the status of the HTTP answer, 0 where the server hung up without one."""
        found = re.match(rb"HTTP/1\.1 (\d{3}) ", self.read_head())
        self.last_status = int(found[1]) if found else 0
        return self.last_status

    def next_frame(self) -> tuple[int, bytes] | None:
        """Return the next frame, None at the end of the connection."""
        while not self._frames:
            if not self.read_more():
                return None
            self._frames.extend(take_frames(self.buffer))
        return self._frames.popleft()
