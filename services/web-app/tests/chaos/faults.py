"""Faults that strike services and instances, drawn from a seed."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from tests.chaos.measure import worker_pid
from tests.chaos.threads import Threads
from tests.edge.process import InstanceProcess
from tests.redis_server import OwnRedis
from tests.services import required
from tests.waiting import wait_until


class Postgres:
    """The PostgreSQL of the test services, in the hands of a vandal."""

    def __init__(self) -> None:
        self._container = required("VULS_TEST_SERVICES_CONTAINER")
        self._unit = f"postgresql@{self._run('ls', '/etc/postgresql')}-main"

    def _run(self, *command: str) -> str:
        command = ("docker", "exec", self._container, *command)
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()

    def restart(self) -> None:
        """Restart it in order; sessions are ended."""
        self._run("systemctl", "restart", self._unit)

    def crash(self, seconds: float) -> None:
        """Stop it at once, so that it recovers from its log when it starts again after `seconds`."""
        self._run("systemctl", "kill", "--kill-whom=main", "--signal=QUIT", self._unit)
        time.sleep(seconds)
        wait_until(lambda: self._state() in ("inactive", "failed"), 30, "the end of PostgreSQL")
        self._run("systemctl", "start", self._unit)

    def _state(self) -> str:
        with suppress(subprocess.CalledProcessError):
            return self._run("systemctl", "show", "--property=ActiveState", "--value", self._unit)
        return ""


class Fleet:
    """Two instances on the same database and Redis. One that is killed comes back on another socket."""

    def __init__(self, start: Callable[[int], InstanceProcess], count: int = 2) -> None:
        self._start = start
        self.instances = [start(number) for number in range(count)]
        self.retired: list[InstanceProcess] = []

    def choose(self, draw: random.Random) -> Path:
        """Return the socket of one of them, whether it lives or not."""
        return draw.choice(self.instances).http_socket

    def kill(self, number: int) -> None:
        """Kill an instance with its worker, and start another in its place."""
        victim = self.instances[number]
        kill(victim)
        self.retired.append(victim)
        self.instances[number] = self._start(number)

    def kill_worker(self, number: int) -> None:
        """Kill the worker only: gunicorn starts another."""
        victim = self.instances[number]
        worker = worker_pid(victim)
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: _other_worker(victim, worker), 60, "another worker")
        victim.wait_ready()


def _other_worker(instance: InstanceProcess, dead: int) -> bool:
    with suppress(ValueError, OSError):
        return worker_pid(instance) != dead
    return False


def kill(instance: InstanceProcess) -> None:
    """Kill an instance as the kernel does when memory is short: all of it, without a word."""
    worker = worker_pid(instance)
    instance.process.kill()
    os.kill(worker, signal.SIGKILL)
    instance.process.wait()


class Faults(Threads):
    """Three lanes of faults (instances, Redis, PostgreSQL) that overlap as they come. `done` tells what happened."""

    def __init__(
        self, fleet: Fleet, redis: OwnRedis, postgres: Postgres, seed: str, pause: tuple[float, float]
    ) -> None:
        self.done: list[str] = []
        self._fleet, self._redis, self._postgres = fleet, redis, postgres
        self._pause = pause
        lanes: dict[str, list[Callable[[random.Random], str]]] = {
            "instances": [self._kill_instance, self._kill_worker],
            "redis": [self._kill_redis, self._stop_redis],
            "postgres": [self._restart_postgres, self._crash_postgres],
        }
        super().__init__(
            [partial(self._strike, random.Random(f"{seed}-{name}"), kinds) for name, kinds in lanes.items()]
        )

    def _strike(self, draw: random.Random, kinds: list[Callable[[random.Random], str]]) -> None:
        """Strike in turn, so that every kind comes, beginning with one by chance."""
        draw.shuffle(kinds)
        turn = 0
        while not self.over.wait(draw.uniform(*self._pause)):
            self.done.append(kinds[turn % len(kinds)](draw))
            turn += 1

    def _kill_instance(self, draw: random.Random) -> str:
        number = draw.randrange(len(self._fleet.instances))
        self._fleet.kill(number)
        return f"instance {number} killed"

    def _kill_worker(self, draw: random.Random) -> str:
        number = draw.randrange(len(self._fleet.instances))
        self._fleet.kill_worker(number)
        return f"worker {number} killed"

    def _kill_redis(self, draw: random.Random) -> str:
        self._redis.signal(signal.SIGKILL)
        time.sleep(draw.uniform(0.2, 4))
        self._redis.start()
        return "Redis killed"

    def _stop_redis(self, draw: random.Random) -> str:
        self._redis.signal(signal.SIGSTOP)
        time.sleep(draw.uniform(0.2, 4))
        self._redis.signal(signal.SIGCONT)
        return "Redis hung"

    def _restart_postgres(self, draw: random.Random) -> str:  # noqa: ARG002
        self._postgres.restart()
        return "PostgreSQL restarted"

    def _crash_postgres(self, draw: random.Random) -> str:
        self._postgres.crash(draw.uniform(0.1, 2))
        return "PostgreSQL stopped at once"
