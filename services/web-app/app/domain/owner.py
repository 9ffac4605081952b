"""Who has a run: a process on a host, as the run's row tells it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Owner:
    """`host:pid:start:nonce`: a process, by its start time, and one of its attempts. `host:` is a run that was let go.

    `start` is in ticks since the host was booted; None where a release wrote the row that did not know it.
    """

    host: str
    pid: int | None = None
    start: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Owner":
        """Return what `text` says; of a text that is none of ours, no more than a host."""
        host, _, rest = text.partition(":")
        parts = rest.split(":")
        pid = int(parts[0]) if parts[0].isdecimal() else None
        start = int(parts[1]) if len(parts) == 3 and parts[1].isdecimal() else None
        return cls(host, pid, start)


def nobody_of(host: str) -> str:
    """Return the owner of a run that any process of `host` may take up."""
    return f"{host}:"
