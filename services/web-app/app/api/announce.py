"""Tells the instances of a committed event: this one at once, the others through Redis, none if that fails."""

from fastapi import BackgroundTasks

from app.api.deps import Db
from app.api.instance import Instance
from app.db.events import load_event
from app.db.models import Event
from app.utils.notification_service import apublish_task_notification


async def announce(event: Event, db: Db, instance: Instance, background: BackgroundTasks) -> None:
    """Wake this instance's log reader, and publish once the answer is sent. Call it after the commit."""
    stored = await db.run_sync(load_event, event.id)
    await db.commit()
    instance.realtime.reader.wake()
    background.add_task(apublish_task_notification, stored)
