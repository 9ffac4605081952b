"""Logging for every process: plain lines on standard error, which journald keeps."""

import logging
import sys


def configure_logging(level: str = "INFO") -> None:
    """Send records of `level` and above to standard error, without a time (journald adds it)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("httpx").setLevel(logging.WARNING)
