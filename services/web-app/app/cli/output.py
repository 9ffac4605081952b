"""How verbs answer: a line for people or JSON for programs, and errors that say what to do next."""

import getpass
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NoReturn

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]


def fail(what: str, next_step: str) -> NoReturn:
    """End with status 1, saying what is wrong and what to do about it."""
    typer.echo(f"vulsctl: {what}\nNext: {next_step}", err=True)
    raise SystemExit(1)


def answer(values: Mapping[str, Any], sentence: str, *, as_json: bool) -> None:
    """Answer with `values` for programs or `sentence` for people."""
    typer.echo(json.dumps(values, default=str) if as_json else sentence)


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Answer with a list: JSON objects, or columns under their names."""
    if as_json:
        typer.echo(json.dumps({"items": rows, "next": None}, default=str))
        return
    lines = [list(columns), *([_cell(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        typer.echo("  ".join(padded).rstrip())


def read_secret(path: str, what: str = "password") -> str:
    """Return the first line of a file, or of standard input for `-`. A secret is never an argument.

    At a terminal it is asked for, and what is typed is not shown.
    """
    try:
        if path == "-":
            line = getpass.getpass(f"{what.capitalize()}: ") if sys.stdin.isatty() else sys.stdin.readline()
        else:
            with open(path, encoding="utf-8") as file:  # noqa: PTH123  (may be a pipe that only `open` follows)
                line = file.readline()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        fail(f"cannot read the {what} from {path}: {error}", "name a readable file, or - for standard input")
    secret = line.rstrip("\r\n")
    if not secret:
        fail(f"the {what} is empty", "put it on the first line of the file or of standard input")
    return secret


def _cell(value: Any) -> str:  # noqa: ANN401  (whatever a row holds)
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list():
            return ",".join(map(str, value)) or "-"
        case _:
            return str(value)
