"""The command `vuls-database`, for people and for the deployment: which database there is, and another in its place.

It writes one JSON object to stdout, and what happens to stderr. Exit status: 0 well, 1 not (the old database is as it
was, and stderr says what to do), 2 wrong arguments.
"""

import argparse
import json
import logging
import os
import pwd
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from executor import database_install
from executor.database import Database, DatabaseError, Facts
from executor.database_install import Origin, Outcome
from executor.database_registry import Reference, Registry

log = logging.getLogger(__name__)

DEFAULT_PATH = "/var/lib/vuls-executor/db/vuls.db"
PATH_VARIABLE = "VULS_EXECUTOR_DATABASE"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    signal.signal(signal.SIGTERM, _stop)
    try:
        found = perform(arguments)
    except (DatabaseError, KeyboardInterrupt) as error:
        log.error("vuls-database: %s", str(error) or "It was interrupted. The database is as it was.")  # noqa: TRY400
        sys.exit(1)
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


def perform(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Do what the arguments say; return what is to be said. Raises DatabaseError, and SystemExit for bad arguments."""
    options = _parser().parse_args(arguments)
    found: dict[str, Any] = options.run(options)
    return found


def show(options: argparse.Namespace) -> dict[str, Any]:
    """Return which database there is."""
    facts = Database(options.database).look()
    if facts is None:
        raise DatabaseError(f"{options.database} is a directory of demo data, of which nothing is known.")
    return _described(facts)


def install(options: argparse.Namespace) -> dict[str, Any]:
    """Put a file in the database's place."""
    path: Path = options.database
    try:
        file = options.file.open("rb")
    except OSError as error:
        raise DatabaseError(f"{options.file} cannot be read ({error.strerror}).") from error
    with file:
        _become_owner(path.parent)

        def write(staging: BinaryIO) -> None:
            try:
                database_install.check_room(path, os.fstat(file.fileno()).st_size)
                database_install.copy(file.read, staging, path)
            except IsADirectoryError as error:
                raise DatabaseError(f"{options.file} is a directory.") from error

        with database_install.exclusive(path):
            origin = Origin(options.source or f"file {options.file.name}")
            return _reported(database_install.install(path, write, origin, options.sha256))


def pull(options: argparse.Namespace) -> dict[str, Any]:
    """Fetch the database from a registry, unless the one in place is from the same manifest."""
    path: Path = options.database
    reference = Reference.parse(options.reference)
    credentials = None if options.credentials is None else _credentials(options.credentials)
    _become_owner(path.parent)
    if options.ca is not None and not os.access(options.ca, os.R_OK):
        raise DatabaseError(f"{options.ca} (--ca) cannot be read by the owner of {path.parent}. Let that user read it.")
    with database_install.exclusive(path), Registry(reference, options.ca, credentials) as registry:
        manifest, layer = registry.manifest()
        origin = Origin(options.reference, manifest)
        if (facts := database_install.pulled(path, origin)) is not None:
            return _reported(Outcome(changed=False, facts=facts))
        database_install.check_room(path, layer.size)
        return _reported(database_install.install(path, lambda staging: registry.fetch(layer, staging, path), origin))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vuls-database", description="The database of vulnerabilities on this scan host.", allow_abbrev=False
    )
    default = os.environ.get(PATH_VARIABLE) or DEFAULT_PATH
    parser.add_argument(
        "--database", type=_absolute, default=Path(default), metavar="PATH", help=f"where it is ({default})"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser(
        "install", allow_abbrev=False, help="put a file in its place, for hosts without a network"
    )
    command.add_argument("file", type=Path, metavar="FILE")
    command.add_argument("--sha256", type=_digest, metavar="HEX", help="what the file must have")
    command.add_argument("--source", metavar="TEXT", help="where it is from, for people (the file's name)")
    command.set_defaults(run=install)

    command = commands.add_parser("pull", allow_abbrev=False, help="fetch it from a registry")
    command.add_argument("reference", metavar="REFERENCE", help="HOST[:PORT]/NAME[:TAG]")
    command.add_argument("--ca", type=Path, metavar="FILE", help="authorities to trust in place of the system's")
    command.add_argument("--credentials", type=Path, metavar="FILE", help="a file with the line USER:PASSWORD")
    command.set_defaults(run=pull)

    command = commands.add_parser("show", allow_abbrev=False, help="say which it is, how old, and where from")
    command.set_defaults(run=show)
    return parser


def _described(facts: Facts) -> dict[str, Any]:
    age = datetime.now(UTC) - facts.modified_at
    return asdict(facts) | {"modified_at": facts.modified_at.isoformat(), "age_seconds": int(age.total_seconds())}


def _reported(outcome: Outcome) -> dict[str, Any]:
    facts = outcome.facts
    text = "is in place now" if outcome.changed else "was in place already"
    log.info("The database of %s from %s %s.", facts.modified_at.isoformat(" ", "minutes"), facts.source, text)
    return {"changed": outcome.changed, **_described(facts)}


def _credentials(path: Path) -> tuple[str, str]:
    try:
        user, colon, password = path.read_text().strip().partition(":")
    except (OSError, ValueError) as error:
        raise DatabaseError(f"{path} (--credentials) cannot be read ({error}).") from error
    if not user or not colon or not password or "\n" in password:
        raise DatabaseError(f"{path} (--credentials) must hold one line, USER:PASSWORD.")
    return user, password


def _become_owner(directory: Path) -> None:
    """Work as the owner of the database's directory when root: it has no use for more, and what it writes fits.

    With the owner's own group: the directory's is the executor's, which may read keys.
    """
    if os.geteuid() != 0:
        return
    try:
        status = directory.stat()
    except OSError as error:
        raise DatabaseError(f"{directory} cannot be used ({error.strerror}). The role vuls makes it.") from error
    if status.st_uid == 0:
        return
    try:
        group = pwd.getpwuid(status.st_uid).pw_gid
    except KeyError as error:
        text = f"{directory} belongs to the user id {status.st_uid}, which this host does not know."
        raise DatabaseError(f"{text} The role vuls makes both.") from error
    os.setgroups([])
    os.setgid(group)
    os.setuid(status.st_uid)


def _absolute(text: str) -> Path:
    path = Path(text)
    if not path.is_absolute():
        raise argparse.ArgumentTypeError("must begin with /")
    return path


def _digest(text: str) -> str:
    found = text.removeprefix("sha256:").lower()
    if len(found) != 64 or set(found) - set("0123456789abcdef"):
        raise argparse.ArgumentTypeError("must be a SHA-256, 64 hexadecimal digits")
    return f"sha256:{found}"


def _stop(*_: object) -> NoReturn:
    """End by an exception, so that the staging file is removed."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
