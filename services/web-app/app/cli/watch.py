"""`vulsctl watch`: follow what happens in a terminal or a program, and go on by cursor whatever breaks."""

import asyncio
import os
import ssl
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from app.cli.output import fail, read_secret
from app.cli.watch_cursor import CursorFile
from app.cli.watch_feed import Follower, Refused, Server
from app.cli.watch_lines import Lines
from app.config import get_settings


def watch(
    url: Annotated[
        str | None,
        typer.Option(envvar="VULS_URL", help="https://NAME; without it the first of VULS_ALLOWED_ORIGINS."),
    ] = None,
    token_file: Annotated[
        str | None, typer.Option(help="File with the token on its first line, - for standard input; else VULS_TOKEN.")
    ] = None,
    ca_file: Annotated[
        str | None, typer.Option(envvar="VULS_CA_FILE", help="Certificate authority; else those of this machine.")
    ] = None,
    since: Annotated[str | None, typer.Option(help="Go on behind this cursor.")] = None,
    cursor_file: Annotated[
        Path | None, typer.Option(help="Keep the cursor here; the next time go on from it, and wait for the server.")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many messages.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One message in JSON a line, resync_required too.")] = False,
) -> None:
    """Follow the events that the token's user may see, until interrupted.

    Restarts and broken connections lose none and repeat none.
    """
    place = CursorFile(cursor_file, since)
    lines = Lines(as_json=as_json)
    server = Server(_address(url), _token(token_file), _trust(ca_file))
    status = 0
    try:
        asyncio.run(Follower(server, place, lines, count).follow())
    except Refused as refused:
        lines.clear_progress()
        fail(str(refused), refused.next_step)
    except KeyboardInterrupt:
        status = 130
    lines.clear_progress()
    if place.cursor is not None and cursor_file is None:
        lines.notice(f"to go on from here: --since {place.cursor}")
    raise SystemExit(status)


def _address(url: str | None) -> str:
    address = (url or next(iter(get_settings().allowed_origins), "")).rstrip("/")
    if not address:
        fail("there is no address to follow", "name it: --url https://NAME, or VULS_URL")
    parts = urlsplit(address)
    if parts.scheme != "https" or not parts.hostname or parts.path or parts.query:
        fail(
            f"{address} is no address of Vuls Live",
            "write it as https://NAME or https://NAME:PORT; the token needs TLS",
        )
    return address


def _token(file: str | None) -> str:
    token = read_secret(file, "token") if file else os.environ.get("VULS_TOKEN", "").strip()
    if not token:
        fail("there is no token", "name a file with --token-file, or set VULS_TOKEN; never as an argument")
    if not token.isascii() or not token.isprintable():
        fail("the token holds characters that no token has", "copy it again, alone on its line")
    return token


def _trust(ca_file: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        fail(f"cannot read certificates from {ca_file}: {error}", "name the file of a certificate authority (PEM)")
