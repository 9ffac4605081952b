"""Log lines in the form that Vuls writes when its standard error is no terminal."""

from datetime import datetime
from typing import TextIO

_ESCAPES = {
    "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", '"': '\\"', "\\": "\\\\",
}  # fmt: skip


class GoLog:
    """Writes `time="Nov 23 05:44:46" level=info msg="…" ` lines, the blank at the end included."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def info(self, message: str) -> None:
        """Tell of progress."""
        self._write("info", message)

    def error(self, message: str) -> None:
        """Tell what went wrong, on one line whatever the message holds."""
        self._write("error", message)

    def _write(self, level: str, message: str) -> None:
        stamp = datetime.now().astimezone().strftime("%b %e %H:%M:%S")
        self._stream.write(f"time={_value(stamp)} level={_value(level)} msg={_value(message)} \n")
        self._stream.flush()


def _value(text: str) -> str:
    """Quote as Go's %q unless the text is made of ASCII letters, digits, hyphens and dots."""
    if all(character.isascii() and (character.isalnum() or character in "-.") for character in text):
        return text
    return f'"{"".join(_escape(character) for character in text)}"'


def _escape(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    code = ord(character)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
