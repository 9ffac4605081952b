"""Cursors as requests give them."""

from app.api.problems import ProblemError
from app.domain.cursor import BadCursor, Cursor


def parse_cursor(text: str | None) -> Cursor | None:
    """Return the cursor that a client came with, None when it came without.

    Raises:
        ProblemError: 400, it is no cursor of ours.
    """
    if text is None:
        return None
    try:
        return Cursor.parse(text)
    except BadCursor as error:
        raise ProblemError(
            400, "bad_cursor", "This is not a cursor of this system. Load everything anew and use the cursor of that."
        ) from error
