"""A worker's surroundings: an executor double, hosts, and this process as the worker."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.config import Settings
from app.db.inventory import Inventory, apply_inventory
from app.tasks.process import sessions
from app.tasks.scan_run import ScanRunner
from tests.conftest import Sessions
from tests.executor_double import API_KEY, ExecutorDouble

Background = Callable[..., threading.Thread]
LOCAL: dict[str, Any] = {
    "hosts": [
        {"id": 1, "name": "vuls-target-1", "address": "vuls-target-1"},
        {"id": 2, "name": "vuls-target-2", "address": "vuls-target-2"},
        {"id": 3, "name": "elsewhere", "address": "elsewhere", "zone": "other"},
    ],
    "tasks": [
        {"id": 1, "name": "Scan vuls-target-1", "host": "vuls-target-1"},
        {"id": 2, "name": "Scan vuls-target-2", "host": "vuls-target-2"},
    ],
}


@pytest.fixture
def web(sessions_as: Callable[..., Sessions]) -> Sessions:
    """The web's sessions, with the local stack's hosts and tasks there."""
    web = sessions_as("web")
    with web.begin() as session:
        apply_inventory(session, Inventory.model_validate(LOCAL))
    return web


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[ExecutorDouble]:
    with ExecutorDouble(tmp_path / "executor.sock") as double:
        yield double


@pytest.fixture
def worker(process_settings: Callable[..., Settings], executor: ExecutorDouble, web: Sessions) -> Iterator[Settings]:
    """This process is the worker of zone default, with short leases."""
    assert web
    settings = process_settings(
        "worker",
        executor_socket=str(executor.socket_path),
        executor_api_key=API_KEY,
        lease_seconds=5,
        heartbeat_seconds=0.1,
        scan_deadline=30,
    )
    sessions.cache_clear()
    yield settings
    sessions().kw["bind"].dispose()
    sessions.cache_clear()


@pytest.fixture
def runner(worker: Settings) -> ScanRunner:
    return ScanRunner(worker, sessions())


@pytest.fixture
def background() -> Iterator[Callable[..., threading.Thread]]:
    """Run something in a thread that the test's end waits for."""
    threads: list[threading.Thread] = []

    def start(work: Callable[..., object], *arguments: Any) -> threading.Thread:
        thread = threading.Thread(target=work, args=arguments)
        thread.start()
        threads.append(thread)
        return thread

    yield start
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
