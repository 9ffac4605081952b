"""`vulsctl status`: how the instances of this host are, or what its component reaches."""

from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from redis import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.cli import admin_socket
from app.cli.output import AsJson, table
from app.config import Settings, get_settings
from app.db.engine import make_engine
from app.utils.redis_client import explain, make_redis

Sockets = Annotated[list[str] | None, typer.Option("--socket", help="Admin socket; all of this host without it.")]
_COLUMNS = ("instance", "ready", "reason", "database", "redis", "feed", "clients", "cursor", "release")


def status(socket: Sockets = None, as_json: AsJson = False) -> None:
    """Show the web instances of this host, or what another component reaches; exit status 1 when something is ill."""
    paths = admin_socket.find(socket, get_settings().instances)
    rows = [_ask(path) for path in paths] or [_this_host()]
    table(rows, _COLUMNS, as_json=as_json)
    if not all(row["ready"] and row["feed"] in (None, "live") for row in rows):
        raise SystemExit(1)


def _this_host() -> dict[str, Any]:
    """Return what a host without a web instance can say: whether its component reaches its services.

    Jobs come through Redis, so without it nothing is done here, although a web instance would still serve.
    """
    settings = get_settings()
    database, redis_fault = _database(settings), _redis_fault(settings)
    row: dict[str, Any] = dict.fromkeys(_COLUMNS)
    return row | {
        "instance": settings.component,
        "ready": database == "ok" and redis_fault is None,
        "reason": redis_fault,
        "database": database,
        "redis": "away" if redis_fault else "ok",
        "release": settings.release_id,
    }


def _database(settings: Settings) -> str:
    engine = make_engine(settings)
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    except SQLAlchemyError:
        return "away"
    finally:
        engine.dispose()
    return "ok"


def _redis_fault(settings: Settings) -> str | None:
    """Return what keeps this host from Redis, or None."""
    try:
        with make_redis(settings) as client:
            client.ping()
    except (RedisError, OSError) as error:
        return explain(error)
    return None


def _ask(path: Path) -> dict[str, Any]:
    try:
        return admin_socket.ask(path, "GET", "/status")
    except httpx.HTTPError as error:
        row: dict[str, Any] = dict.fromkeys(_COLUMNS)
        reason = f"no answer: {error}" if path.exists() else "does not run"
        return row | {"instance": admin_socket.unit_of(path), "ready": False, "reason": reason}
