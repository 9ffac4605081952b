"""What the double reads of Vuls's config.toml."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_DEFAULT_REPOSITORY = "registry.invalid/vulsio/vuls-nightly-db:0"


class ConfigError(Exception):
    """The configuration cannot be read; `vuls report` ends with status 2."""


@dataclass(frozen=True)
class Config:
    """The database and how it may be had, and the servers whose settings go into a result."""

    database: Path
    repository: str
    skip_update: bool
    servers: dict[str, Any]


def load(path: Path) -> Config:
    """Read config.toml. Raises ConfigError with the reason."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(str(error)) from error
    vuls2 = document.get("vuls2", {})
    servers = document.get("servers", {})
    if not isinstance(vuls2, dict) or not isinstance(servers, dict):
        raise ConfigError("[vuls2] and [servers] have to be tables")
    return Config(
        database=Path(vuls2.get("Path") or Path.cwd() / "vuls.db"),
        repository=vuls2.get("Repository") or _DEFAULT_REPOSITORY,
        skip_update=bool(vuls2.get("SkipUpdate", False)),
        servers=servers,
    )
