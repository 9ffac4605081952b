"""How far `vulsctl watch` has printed."""

from pathlib import Path

from app.cli.output import fail
from app.domain.cursor import BadCursor, Cursor


class CursorFile:
    """The cursor, in a file where one was named."""

    def __init__(self, file: Path | None, since: str | None) -> None:
        self._file = file
        self.cursor = since or self._read()
        self.kept = since is None and self.cursor is not None  # by an earlier start, in the file
        if self.cursor is not None:
            try:
                Cursor.parse(self.cursor)
            except BadCursor:
                where = "--since" if since else str(file)
                fail(f"{where} holds no cursor: {self.cursor[:80]!r}", "leave it out to follow from now on")

    def move(self, cursor: str) -> None:
        """Everything up to `cursor` was printed. The file never holds half a cursor."""
        if cursor == self.cursor:
            return
        self.cursor = cursor
        if self._file is None:
            return
        fresh = self._file.with_name(f"{self._file.name}.new")
        try:
            fresh.write_text(f"{cursor}\n")
            fresh.replace(self._file)
        except OSError as error:
            fail(f"cannot write the cursor: {error}", "name a file in a folder that you may write")

    def _read(self) -> str | None:
        try:
            return None if self._file is None else self._file.read_text().strip() or None
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            fail(f"cannot read the cursor from {self._file}: {error}", "name a file that you may read and write")
