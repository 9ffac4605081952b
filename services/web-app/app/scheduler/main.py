"""The console script `vuls-scheduler`."""

import signal
import threading
from types import FrameType

from app.config import get_settings
from app.log import configure_logging
from app.scheduler.service import Scheduler
from app.tasks.celery_app import make_celery


def main() -> None:
    """Run a scheduler until SIGTERM or SIGINT."""
    configure_logging()
    settings = get_settings()
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    Scheduler(settings, make_celery(settings)).run(stop)
