"""gunicorn's and uvicorn's lines in the form of all others."""

import logging
from typing import Any

from gunicorn.glogging import Logger
from websockets.exceptions import WebSocketException

from app.log import configure_logging

_SOCKET_LINES = ('%s - "WebSocket %s"', "connection open", "connection rejected", "connection closed")


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


def quiet(record: logging.LogRecord) -> bool:
    """Filter of uvicorn's log: drop its lines for single sockets, and shorten what clients did wrong to one line.

    Its line for a handshake holds the query string; the application writes its own. A client that breaks the protocol
    is no fault of ours and gets no traceback.
    """
    message = str(record.msg)
    if message.startswith(_SOCKET_LINES):
        return False
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, WebSocketException | UnicodeDecodeError | EOFError):
        record.msg, record.args, record.exc_info = f"A client broke the protocol: {type(error).__name__}", (), None
        record.levelno, record.levelname = logging.INFO, "INFO"
    return True
