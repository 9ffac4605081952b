"""`vulsctl notify`: a test notification."""

import json
from typing import Annotated, Any

import typer

from app.cli.connection import explained
from app.cli.output import AsJson, answer, fail
from app.domain.event_check import BadEventError


def notify(
    name: Annotated[str, typer.Option(help="The task's name in the message.")] = "Test Notification",
    status: Annotated[str, typer.Option(help="queued, started, success, failed or cancelled")] = "success",
    task_id: Annotated[int, typer.Option()] = 0,
    run_id: Annotated[int, typer.Option()] = 0,
    data: Annotated[str, typer.Option(help="result_data as a JSON object")] = "{}",
    as_json: AsJson = False,
) -> None:
    """Send a notification to every open browser of those who may see all hosts."""
    try:
        result_data: Any = json.loads(data)
    except (json.JSONDecodeError, RecursionError) as error:
        fail(f"--data is not JSON: {error}", """write it like --data '{"test": "data"}'""")
    if not isinstance(result_data, dict):
        fail("--data is not a JSON object", """write it like --data '{"test": "data"}'""")
    from app.tasks.scan_tasks import send_task_notification  # noqa: PLC0415  (Celery is slow to load)

    try:
        with explained():
            message = send_task_notification(task_id, run_id, status, name, result_data)
    except BadEventError as error:
        fail(str(error), "correct the options; `vulsctl notify --help` lists them")
    except ValueError as error:
        fail(str(error), "name one of them")
    answer(message | {"changed": True}, f"Sent {message['id']}.", as_json=as_json)
