"""`vulsctl status`: how the instances of this host are."""

from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from app.cli import admin_socket
from app.cli.output import AsJson, fail, table

Sockets = Annotated[list[str] | None, typer.Option("--socket", help="Admin socket; all of this host without it.")]
_COLUMNS = ("instance", "ready", "reason", "database", "redis", "clients", "cursor", "release")


def status(socket: Sockets = None, as_json: AsJson = False) -> None:
    """Show the web instances of this host; exit status 1 when one is not ready."""
    paths = admin_socket.find(socket)
    if not paths:
        fail(
            "no web instance runs on this host", "run it on a web host, as root; or look at `systemctl status 'vuls-*'`"
        )
    rows = [_ask(path) for path in paths]
    table(rows, _COLUMNS, as_json=as_json)
    if not all(row["ready"] for row in rows):
        raise SystemExit(1)


def _ask(path: Path) -> dict[str, Any]:
    try:
        return admin_socket.ask(path, "GET", "/status")
    except httpx.HTTPError as error:
        row: dict[str, Any] = dict.fromkeys(_COLUMNS)
        return row | {"instance": path.parent.name, "ready": False, "reason": f"no answer: {error}"}
