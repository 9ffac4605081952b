"""Tells the instances of a committed event: this one at once, the others through Redis, none if that fails."""

import logging

from fastapi import BackgroundTasks
from sqlalchemy.exc import SQLAlchemyError

from app.api.deps import Db
from app.api.instance import Instance
from app.api.problems import is_database_away
from app.db.events import load_event
from app.db.models import Event
from app.utils.notification_service import apublish_task_notification

log = logging.getLogger(__name__)


async def announce(event: Event, db: Db, instance: Instance, background: BackgroundTasks) -> None:
    """Wake this instance's log reader, and publish once the answer is sent. Call it after the commit.

    What was committed stays so: a database that goes away just now must not turn the answer into a refusal, or the
    caller asks for a second run. Readers find the event in the log.
    """
    instance.realtime.reader.wake()
    try:
        stored = await db.run_sync(load_event, event.id)
        await db.commit()
    except (SQLAlchemyError, OSError) as error:
        if not is_database_away(error):
            raise
        log.warning("Event %s stays unpublished: the database is away (%s)", event.id, type(error).__name__)
        return
    background.add_task(apublish_task_notification, stored)
