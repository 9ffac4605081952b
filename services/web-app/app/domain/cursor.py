"""The place in the event log that a reader has reached."""

import re
from dataclasses import dataclass
from typing import Self

_FORM = re.compile(r"([a-z0-9]{1,32})-(0|[1-9][0-9]{0,18})", re.ASCII)
_GREATEST_SEQUENCE = 2**63 - 1


class BadCursor(ValueError):  # noqa: N818  (the name in the contract)
    """The text is no cursor of ours; the reader has to start from a fresh page."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """`sequence` grows in commit order within an `epoch`; another epoch is another history. Opaque to clients."""

    epoch: str
    sequence: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.sequence}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the cursor that `text` (`k3f9-1842`) stands for.

        Raises:
            BadCursor: it has another form, or a sequence that PostgreSQL could not hold.
        """
        match = _FORM.fullmatch(text)
        if match is None or int(match[2]) > _GREATEST_SEQUENCE:
            raise BadCursor("not a cursor of this system")
        return cls(match[1], int(match[2]))
