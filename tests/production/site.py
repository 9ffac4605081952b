"""The hosts of inventories/production.example, and how a client reaches them."""

import json
import ssl
from typing import Any

import httpx

from tests.e2e import stack

NAME = "vuls.production.test"
ORIGIN = f"https://{NAME}"
STATE = stack.ROOT / ".local/production"
INVENTORIES = ("inventories/production.example", "molecule/shared/inventory", "molecule/production/inventory")
BALANCERS = ("lb-1", "lb-2")
WEB = ("web-1", "web-2", "web-3")
REDIS = ("redis-1", "redis-2", "redis-3")
SCANNED = {"dmz": "shop-1", "office": "desk-1"}
OURS = (*BALANCERS, *WEB, *REDIS, "db-1", "db-2", "backup-1", *(f"scan-{zone}-1" for zone in SCANNED))
INSTANCES = {f"{host}:{number}" for host in WEB for number in (1, 2)}


def address() -> str:
    """Return the address that the balancers share, to which the public name would lead."""
    return (STATE / "shared-address").read_text().partition("/")[0]


class _Resolved(httpx.HTTPTransport):
    """Goes to the shared address with every request, and wants the certificate of the name."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        there = httpx.Request(
            request.method,
            request.url.copy_with(host=address()),
            headers=request.headers,
            stream=request.stream,
            extensions=request.extensions | {"sni_hostname": NAME},
        )
        return super().handle_request(there)


def client(trust: ssl.SSLContext) -> httpx.Client:
    """Return an HTTP client of the site."""
    return httpx.Client(base_url=ORIGIN, transport=_Resolved(verify=trust), headers={"Origin": ORIGIN}, timeout=30)


def ready() -> set[str]:
    """Return the web instances that say they are ready."""
    rows = [row for host in WEB for row in _status(host)]
    return {row["instance"] for row in rows if row["ready"]}


def _status(host: str) -> list[dict[str, Any]]:
    said = stack.on(host, "vulsctl", "status", "--json").stdout
    return json.loads(said)["items"] if said else []


def holder() -> str:
    """Return the balancer that has the shared address; empty when none or both say so."""
    wanted = f"inet {address()}/"
    having = [host for host in BALANCERS if wanted in stack.on(host, "ip", "-4", "address", "show").stdout]
    return having[0] if len(having) == 1 else ""


def redis_primary(asked: str) -> str:
    """Return which host the Sentinel of another one holds for the primary."""
    line = stack.shell(asked, "grep '^sentinel monitor vuls ' /var/lib/redis-sentinel/sentinel.conf")
    return line.split()[3]
