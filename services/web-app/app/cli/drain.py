"""`vulsctl drain`: empty an instance before it stops."""

from pathlib import Path
from typing import Annotated

import httpx
import typer

from app.cli import admin_socket
from app.cli.output import AsJson, answer, fail


def drain(
    instance: Annotated[int, typer.Argument(min=1, help="The number of the instance on this host.")],
    seconds: Annotated[float, typer.Option(min=0, max=600, help="Over so many seconds.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Make an instance not ready and send its clients to others, spread over time. It stays so until restarted."""
    path = Path(admin_socket.SOCKET.format(instance))
    try:
        report = admin_socket.ask(path, "POST", "/drain", seconds=seconds)
    except httpx.HTTPError as error:
        fail(f"instance {instance} does not answer: {error}", "`vulsctl status` shows the instances of this host")
    answer(report | {"changed": True}, f"Drained {report['drained']} clients.", as_json=as_json)
