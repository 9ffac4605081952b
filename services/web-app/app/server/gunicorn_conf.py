"""gunicorn's configuration: `gunicorn --config python:app.server.gunicorn_conf app.main:app`."""

from app.config import get_settings
from app.server.worker import GRACE

_settings = get_settings()

bind = f"unix:{_settings.http_socket}"
umask = 0o117  # the socket is 0660: for the proxy's group, which owns its folder
workers = 1  # an instance is one process: sockets shared between processes skew badly
worker_class = "app.server.worker.InstanceWorker"
proc_name = f"vuls-web {_settings.instance}"
timeout = 30  # seconds without a sign of life until the worker is replaced
graceful_timeout = GRACE + 5  # above uvicorn's own; the unit's TimeoutStopSec is above this
keepalive = 75  # seconds; above the proxy's, so that it never sends into a closing connection
accesslog = None  # the proxy has one, without query strings
errorlog = "-"
loglevel = "info"
logger_class = "app.server.logger.PlainLogger"
control_socket_disable = True  # the admin socket is ours
