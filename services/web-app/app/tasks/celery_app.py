"""Celery carries jobs and nothing else: PostgreSQL knows the runs, the executor the scans.

`celery -A app.tasks.celery_app worker -Q scan.<zone> --without-gossip --without-mingle --without-heartbeat`
"""

import ssl
from typing import Any

from celery import Celery, signals
from kombu import Exchange, Queue
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.config import Settings, get_settings
from app.log import configure_logging
from app.tasks import transport
from app.tasks.orphans import OrphanWatch, look_after_orphans
from app.utils.redis_client import sentinel_options

SCAN_TASK = "app.tasks.scan_tasks.run_vulnerability_scan"


def scan_queue(zone: str) -> Queue:
    """Return the queue of a zone. It hangs on the default exchange, so that no binding is shared between zones."""
    name = f"scan.{zone}"
    return Queue(name, Exchange(""), routing_key=name)


def _broker_url(settings: Settings) -> str:
    """Return where kombu begins: Redis, or every Sentinel with what Redis (not Sentinel) wants to know."""
    url = settings.redis_url.partition("?")[0]
    if not settings.redis_sentinels:
        return url
    credentials = url.partition("://")[2].rpartition("@")[0]
    return ";".join(
        f"sentinel://{credentials}@{address}/{settings.redis_database}" for address in settings.redis_sentinels
    )


def _transport_options(settings: Settings) -> dict[str, Any]:
    options: dict[str, Any] = {
        "client_name": f"vuls-{settings.component}",
        "socket_keepalive": True,
        "socket_connect_timeout": 5,
        "socket_timeout": 30,
        "health_check_interval": 10,
        "visibility_timeout": settings.visibility_timeout,
        # Keys of the zone's own: kombu's defaults are shared and let any worker push back another zone's jobs.
        "unacked_key": f"unacked.{settings.zone}",
        "unacked_index_key": f"unacked_index.{settings.zone}",
        "unacked_mutex_key": f"unacked_mutex.{settings.zone}",
    }
    if settings.component != "worker":
        # Who only sends does not wait for Redis: the scheduler sends the job again later.
        options |= {"socket_connect_timeout": 1, "socket_timeout": 1, "max_retries": 1, "interval_start": 0}
        options |= {"interval_step": 0, "interval_max": 0}
    if settings.redis_sentinels:
        options["master_name"] = settings.redis_sentinel_primary
        options["sentinel_kwargs"] = sentinel_options(settings, 1) | {"retry": Retry(NoBackoff(), 0)}
    return options


def make_celery(settings: Settings) -> Celery:
    """Return the application for `settings`: at least once, one job at a time, no results, no remote control."""
    celery = Celery("vuls", include=["app.tasks.scan_tasks", "app.tasks.scan_host"])
    queue = scan_queue(settings.zone)
    celery.conf.update(
        broker_url=_broker_url(settings),
        broker_transport=None if settings.redis_sentinels else f"{transport.__name__}:Transport",
        broker_transport_options=_transport_options(settings),
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=5,
        task_queues=[queue],
        task_default_queue=queue.name,
        task_default_exchange="",
        task_default_routing_key=queue.name,
        task_create_missing_queues=False,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        result_backend=None,
        enable_utc=True,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        # A scan goes on while Redis is away: its end is stored, and a second delivery finds the run finished.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_redirect_stdouts=False,
    )
    celery.steps["consumer"].add(OrphanWatch)
    if settings.redis_tls:
        celery.conf.broker_use_ssl = {
            "ssl_cert_reqs": ssl.CERT_REQUIRED,
            "ssl_ca_certs": settings.redis_ca,
            "ssl_check_hostname": True,
        }
    return celery


def _own_logging(**_: object) -> None:
    configure_logging()


def _look_at_once(**_: object) -> None:
    look_after_orphans(get_settings())


# Before it forks and connects, which takes seconds: a scan that was cancelled meanwhile does not wait for Redis.
signals.celeryd_after_setup.connect(_look_at_once, weak=False)
signals.setup_logging.connect(_own_logging, weak=False)  # being connected keeps Celery from setting up its own
celery = make_celery(get_settings())
