"""The servers that may be scanned, as playbooks/scan_hosts.yml wrote them."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

ServerName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,62}$")]
"""Becomes a file name, a TOML key and an argument of Vuls, hence nothing else, and no dash first: that is a flag.

The web app's `app/domain/names.py` has the same pattern.
"""

# A host name, an IPv4 address or an IPv6 address; never something that ssh could take for an option.
Address = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9][A-Za-z0-9.-]{0,252}|[0-9A-Fa-f:.]{2,45})$")]
User = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")]


class Target(BaseModel):
    """How one server is reached over SSH."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: Address
    port: Annotated[int, Field(ge=1, le=65535)] = 22
    user: User = "vuls"


class _Targets(BaseModel):
    model_config = ConfigDict(extra="forbid")

    targets: dict[ServerName, Target]


class TargetsUnreadable(Exception):  # noqa: N818
    """The targets file is missing or not what scan_hosts.yml writes."""


def load(path: Path) -> dict[str, Target]:
    """Read the file anew, so that a change needs no restart. Raises TargetsUnreadable."""
    try:
        return _Targets.model_validate_json(path.read_bytes()).targets
    except OSError as error:
        raise TargetsUnreadable(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"])
        raise TargetsUnreadable(f"{path}: {at}: {first['msg']}") from error
