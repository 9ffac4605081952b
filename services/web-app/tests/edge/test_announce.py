"""What was committed is never answered with a refusal."""

import socket
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import BackgroundTasks

from app.api.announce import announce
from app.config import Settings
from app.db.engine import async_session_factory, make_async_engine
from app.db.models import Event


async def test_a_database_that_goes_away_after_the_commit_is_no_refusal(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    engine = make_async_engine(Settings(database_host="127.0.0.1", database_port=port, database_sslmode="disable"))
    woken: list[bool] = []
    reader = SimpleNamespace(wake=lambda: woken.append(True))
    instance: Any = SimpleNamespace(realtime=SimpleNamespace(reader=reader))
    background = BackgroundTasks()

    async with async_session_factory(engine)() as session:
        await announce(Event(id=7, type="task_update", data={}), session, instance, background)
    await engine.dispose()

    assert woken == [True]
    assert background.tasks == []
    assert "Event 7 stays unpublished" in caplog.text
