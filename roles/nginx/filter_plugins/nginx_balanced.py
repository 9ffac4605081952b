"""Changes in a balancer's configuration who is given nothing, and nothing else."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

UPSTREAM = re.compile(r"^\s*upstream (?:instance_)?(?P<name>\w+) \{")
SERVER = re.compile(r"^(?P<before>\s*server (?P<address>\S+) .*?)(?P<down> down)?;$")
ROUTE = re.compile(r" route=(?P<route>[0-9a-f]{12})\b")


def route(instance: str) -> str:
    """Return what the configuration calls an instance (host:number), as the template nginx.conf.j2 does."""
    return hashlib.sha256(instance.encode()).hexdigest()[:12]


def _servers(lines: list[str]) -> Iterator[tuple[int, re.Match[str], str]]:
    """Yield the number of each line that names an instance, its match, and the route where it is its own."""
    upstream = ""
    for number, line in enumerate(lines):
        if began := UPSTREAM.match(line):
            upstream = began["name"]
        elif line.strip() == "}":
            upstream = ""
        elif upstream and (server := SERVER.match(line)) and " max_fails=" in server["before"]:
            said = ROUTE.search(line)
            yield number, server, said["route"] if said else "" if " backup" in line else upstream


def nginx_balanced(configuration: str, down: Iterable[str]) -> str:
    """Return a configuration in which these instances (host:number), and no others, are given nothing.

    Addresses are those of the configuration: what the inventory says meanwhile may not be deployed yet. An instance
    that it does not know is given nothing anyway.
    """
    lines = configuration.split("\n")
    routes = {route(instance) for instance in down}
    away = {server["address"] for _, server, own in _servers(lines) if own in routes}
    for number, server, _ in list(_servers(lines)):
        lines[number] = f"{server['before']}{' down' if server['address'] in away else ''};"
    return "\n".join(lines)


def nginx_down(configuration: str, instances: Iterable[str]) -> list[str]:
    """Return those of these instances (host:number) that a configuration gives nothing to, in their order."""
    away = {own for _, server, own in _servers(configuration.split("\n")) if server["down"]}
    return [instance for instance in instances if route(instance) in away]


class FilterModule:
    """The filters, under the names that tasks use."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"nginx_balanced": nginx_balanced, "nginx_down": nginx_down}
