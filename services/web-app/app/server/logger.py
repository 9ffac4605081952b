"""gunicorn's and uvicorn's lines in the form of all others."""

import logging
from typing import Any

from gunicorn.glogging import Logger

from app.log import configure_logging


class PlainLogger(Logger):  # type: ignore[misc]  # gunicorn has no types
    """Hands gunicorn's lines to the root logger."""

    def setup(self, cfg: Any) -> None:  # noqa: ANN401  (gunicorn has no types)
        """Set up once more; gunicorn calls this again when it reads its configuration anew."""
        super().setup(cfg)
        configure_logging()
        use_root("gunicorn.error")


def use_root(name: str) -> None:
    """Have the logger `name` write nothing itself and hand its records up."""
    logger = logging.getLogger(name)
    logger.handlers = []
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


def drop_handshake_lines(record: logging.LogRecord) -> bool:
    """Filter out uvicorn's line for a WebSocket, which holds the query string; the application writes its own."""
    return not (isinstance(record.msg, str) and record.msg.startswith('%s - "WebSocket %s"'))
