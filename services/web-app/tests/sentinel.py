"""Three Redis with a Sentinel each, over TLS, to be killed: processes here or in the container of the test services."""

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pytest
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.redis_server import address_of, free_ports
from tests.waiting import wait_until

PRIMARY = "vuls"
USER, PASSWORD = "app", "only-for-tests-app"
SENTINEL_USER, SENTINEL_PASSWORD = "client", "only-for-tests-client"
_LINK, _PEER = "only-for-tests-link", "only-for-tests-peer"
DOWN_AFTER = 1500  # milliseconds; production has 5000
_CERTIFICATES = """
set -e
cd "$1"
key="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
openssl req -x509 $key -days 2 -subj "/CN=test CA" -keyout ca.key -out ca.crt
openssl req $key -subj "/CN=redis" -keyout host.key -out host.csr
printf 'subjectAltName=IP:%s' "$2" >names
openssl x509 -req -in host.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names -out host.crt
"""
_TLS = """
port 0
tls-port {port}
bind *
protected-mode no
tls-replication yes
tls-auth-clients no
tls-cert-file {folder}/host.crt
tls-key-file {folder}/host.key
tls-ca-cert-file {folder}/ca.crt
daemonize yes
pidfile {folder}/{name}.pid
logfile {folder}/{name}.log
user default off
"""
_REDIS = """
dir {folder}/{name}
save ""
maxmemory-policy noeviction
replica-announce-ip {host}
replica-announce-port {port}
masteruser link
masterauth {link}
min-replicas-to-write 1
min-replicas-max-lag 3
repl-diskless-sync-delay 0
user link on >{link} &* +@all
user {user} on >{password} ~* &* +@all
"""
_SENTINEL = """
sentinel announce-ip {host}
sentinel announce-port {port}
sentinel sentinel-user peer
sentinel sentinel-pass {peer}
sentinel monitor {primary} {host} {first} 2
sentinel auth-user {primary} link
sentinel auth-pass {primary} {link}
sentinel down-after-milliseconds {primary} {down_after}
sentinel failover-timeout {primary} 6000
user peer on >{peer} &* +@all
user {user} on >{password} +sentinel +hello +auth +ping +client
"""


class Sentinels:
    """A primary with two replicas, which two of three Sentinels agree about."""

    def __init__(self) -> None:
        self._container = None if shutil.which("redis-server") else os.environ.get("VULS_TEST_SERVICES_CONTAINER")
        if self._container is None and not shutil.which("redis-server"):
            pytest.fail("no redis-server here and no VULS_TEST_SERVICES_CONTAINER: scripts/test_services.sh start")
        self.host = "127.0.0.1" if self._container is None else address_of(self._container)
        ports = free_ports(6)
        self.redis_ports, self.sentinel_ports = ports[:3], ports[3:]
        self._folder = f"/tmp/vuls-test-sentinel-{secrets.token_hex(4)}"
        self._here = Path(tempfile.mkdtemp(prefix="vuls-test-ca-"))
        self.ca = self._here / "ca.crt"

    def _run(self, *command: str, stdin: str | None = None) -> str:
        where = [] if self._container is None else ["docker", "exec", "-i", self._container]
        done = subprocess.run(
            [*where, *command], check=True, capture_output=True, text=True, timeout=60, input=stdin or ""
        )
        return done.stdout.strip()

    @property
    def settings(self) -> dict[str, Any]:
        """What leads a component here."""
        return {
            "redis_host": "203.0.113.1",  # nobody: whoever asks no Sentinel gets nowhere
            "redis_user": USER,
            "redis_password": PASSWORD,
            "redis_tls": True,
            "redis_ca": str(self.ca),
            "redis_database": 0,
            "redis_sentinels": ",".join(f"{self.host}:{port}" for port in self.sentinel_ports),
            "redis_sentinel_primary": PRIMARY,
            "redis_sentinel_user": SENTINEL_USER,
            "redis_sentinel_password": SENTINEL_PASSWORD,
        }

    def _client(self, port: int, user: str, password: str) -> Redis:
        return Redis(
            host=self.host, port=port, username=user, password=password, ssl=True, ssl_ca_certs=str(self.ca),
            socket_timeout=2, retry=Retry(NoBackoff(), 0), decode_responses=True,
        )  # fmt: skip

    def redis(self, number: int) -> Redis:
        """Return a client of one Redis, whatever its role."""
        return self._client(self.redis_ports[number], USER, PASSWORD)

    def start(self) -> None:
        """Start all six and wait until the Sentinels know each other and both replicas."""
        self._run("mkdir", "-p", self._folder)
        self._run("sh", "-c", _CERTIFICATES, "sh", self._folder, self.host)
        self.ca.write_text(self._run("cat", f"{self._folder}/ca.crt") + "\n")
        for number in range(3):
            self.start_redis(number)
        for number in range(3):
            self.start_sentinel(number)
        wait_until(self._is_complete, 60, "the Sentinels' agreement")

    def start_redis(self, number: int) -> None:
        """Start one; only the first has no primary, and what has become of it since is the Sentinels' to tell it."""
        name, port = f"redis-{number}", self.redis_ports[number]
        text = (_TLS + _REDIS).format(
            folder=self._folder, name=name, port=port, host=self.host, link=_LINK, user=USER, password=PASSWORD
        )
        if number:
            text += f"replicaof {self.host} {self.redis_ports[0]}\n"
        self._run("mkdir", "-p", f"{self._folder}/{name}")
        self._run("sh", "-c", f"cat >{self._folder}/{name}.conf", stdin=text)
        self._run("redis-server", f"{self._folder}/{name}.conf")
        wait_until(lambda: self.role(number) is not None, what=f"the start of {name}")

    def start_sentinel(self, number: int) -> None:
        """Start one as new, or with what it has learned before."""
        name, port = f"sentinel-{number}", self.sentinel_ports[number]
        text = (_TLS + _SENTINEL).format(
            folder=self._folder, name=name, port=port, host=self.host, peer=_PEER, link=_LINK, primary=PRIMARY,
            first=self.redis_ports[0], down_after=DOWN_AFTER, user=SENTINEL_USER, password=SENTINEL_PASSWORD,
        )  # fmt: skip
        self._run("sh", "-c", f"[ -e {self._folder}/{name}.conf ] || cat >{self._folder}/{name}.conf", stdin=text)
        self._run("redis-server", f"{self._folder}/{name}.conf", "--sentinel")

    def _is_complete(self) -> bool:
        found = [self.state(number) for number in range(3)]
        return all(
            state.get("num-slaves") == 2 and state.get("num-other-sentinels") == 2 and state.get("flags") == "master"
            for state in found
        ) and all(self._is_in_step(number) for number in (1, 2))

    def _is_in_step(self, number: int) -> bool:
        with suppress(RedisError), self.redis(number) as client:
            return bool(client.info("replication").get("master_link_status") == "up")
        return False

    def state(self, number: int) -> dict[str, Any]:
        """Return what a Sentinel says of the primary; nothing if it does not answer."""
        with (
            suppress(RedisError),
            self._client(self.sentinel_ports[number], SENTINEL_USER, SENTINEL_PASSWORD) as client,
        ):
            return dict(client.sentinel_master(PRIMARY))
        return {}

    def role(self, number: int) -> str | None:
        """Return `master` or `slave`, or None if that Redis does not answer."""
        with suppress(RedisError), self.redis(number) as client:
            return str(client.info("replication")["role"])
        return None

    def primary(self) -> int:
        """Return the number of the Redis that is primary, waiting for one."""
        found: list[int] = []

        def look() -> bool:
            found[:] = [number for number in range(3) if self.role(number) == "master"]
            return len(found) == 1

        wait_until(look, 30, "a primary")
        return found[0]

    def wait_for_role(self, number: int, role: str) -> None:
        """Wait until that Redis has the role."""
        wait_until(lambda: self.role(number) == role, 90, f"redis-{number} as {role}")

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to `redis-N` or `sentinel-N`."""
        pid = self._run("cat", f"{self._folder}/{name}.pid")
        self._run("kill", f"-{number.value}", pid)

    def wait_for_another(self, old: int, seconds: float = 60) -> float:
        """Wait until another than `old` takes writes; return how many seconds that took."""
        began = time.monotonic()
        others = [number for number in range(3) if number != old]
        wait_until(lambda: any(self.role(number) == "master" for number in others), seconds, "a failover")
        return time.monotonic() - began

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(subprocess.CalledProcessError):
            self._run("sh", "-c", f"kill -9 $(cat {self._folder}/*.pid); rm -rf {self._folder}")
        shutil.rmtree(self._here, ignore_errors=True)
