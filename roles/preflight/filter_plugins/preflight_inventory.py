"""What stands in the way in the inventory itself, found before any host is asked.

Each function returns findings: `check` (the word that preflight_accept takes), `what` happened, what it `means`, and
what to do `next`.
"""

import difflib
import ipaddress
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

Finding = dict[str, str]
Hosts = Mapping[str, Mapping[str, Any]]

HOST_NAME = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)
# As pg_hba.conf takes it: one that begins with a dot stands for all that end so.
CLIENT_NAME = re.compile(r"\.?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
ZONE = re.compile(r"[a-z0-9][a-z0-9_]{0,30}")
# RFC 2606: nobody's names, so nobody's hosts.
EXAMPLE = re.compile(r"(^|\.)example(\.(com|net|org))?$")
SECRET_LENGTH = 32


def finding(check: str, what: str, means: str, todo: str) -> Finding:
    """Return one finding."""
    return {"check": check, "what": what, "means": means, "next": todo}


def tiers_of(tiers: Mapping[str, Sequence[str]], required: Iterable[str]) -> Iterator[Finding]:
    """Look at who has which part."""
    for name in required:
        if not tiers.get(name):
            yield finding(
                "inventory",
                f"no host is in the group {name}",
                "a part of the system would be missing",
                f"put a host into {name} in hosts.yml (several groups may name the same host)",
            )
    redis = len(tiers.get("redis", []))
    if redis and redis % 2 == 0:
        yield finding(
            "inventory",
            f"{redis} hosts are in the group redis, and so is the number of Sentinels even",
            "when one half cannot see the other, neither has a majority and nobody is promoted",
            "use one host (no failover), three or five",
        )
    # One host for everything is the exception: its balancer reaches the instances' sockets, and needs no terminator.
    balancers, web = tiers.get("loadbalancers", []), tiers.get("web", [])
    both = [host for host in balancers if host in web]
    if both and len({*balancers, *web}) > 1:
        yield finding(
            "inventory",
            f"{', '.join(both)} {'is' if len(both) == 1 else 'are'} in the groups loadbalancers and web",
            "both run nginx, each with its own nginx.conf: the one that is deployed last takes the place of the other",
            "give balancers hosts of their own, or put everything on one host (inventories/single)",
        )
    if len(tiers.get("backup", [])) > 1:
        yield finding(
            "inventory",
            f"{len(tiers['backup'])} hosts are in the group backup",
            "there is one repository of backups",
            "leave one of them in it, better not the primary of the database",
        )


def strangers(tiers: Mapping[str, Sequence[str]], targets: Sequence[str], everyone: Sequence[str]) -> Iterator[Finding]:
    """Look for hosts that nothing is done with, as a misspelled group leaves them."""
    used = {host for hosts in tiers.values() for host in hosts} | set(targets) | {"localhost"}
    for host in everyone:
        if host not in used:
            yield finding(
                "inventory",
                f"{host} is in none of the groups {', '.join(sorted(tiers))} and scan_targets",
                "nothing would be deployed to it",
                "put it into a group, look at the spelling of the one that it is in, or take it out of the inventory",
            )


def names_of(hosts: Sequence[str], said: Hosts) -> Iterator[Finding]:
    """Look at the names and addresses of our own hosts."""
    for host in hosts:
        if not HOST_NAME.fullmatch(host):
            yield finding(
                "inventory",
                f"'{host}' is no host name",
                "certificates, nginx and DNS cannot carry it",
                "use letters, digits and - (and dots between labels); ansible_host may say how Ansible reaches it",
            )
        address = str(said[host].get("address", host))
        if EXAMPLE.search(address):
            yield finding(
                "inventory",
                f"{host} still has the example's address {address}",
                "there is no such host",
                "put its own name or address into hosts.yml",
            )
    yield from doubles(
        "inventory", "are reached at the same address", [h for h in hosts if said[h].get("address")], said
    )


def doubles(check: str, words: str, hosts: Sequence[str], said: Hosts) -> Iterator[Finding]:
    """Look for two names of one host."""
    by_address: dict[tuple[str, str], list[str]] = {}
    for host in hosts:
        by_address.setdefault((str(said[host]["address"]), str(said[host].get("port", ""))), []).append(host)
    for (address, _), same in sorted(by_address.items()):
        if len(same) > 1:
            yield finding(
                check,
                f"{', '.join(same)} {words} ({address})",
                "one host would be deployed to as if it were several, and one would undo the other's work",
                "give each its own ansible_host, or put one name into several groups",
            )


def zones_of(
    zones: Sequence[str], scan_hosts: Sequence[str], targets: Sequence[str], said: Hosts, accepted: Sequence[str]
) -> Iterator[Finding]:
    """Look at zones, and at who scans and who is scanned in them."""
    for zone, count in Counter(zones).items():
        if count > 1:
            yield finding(
                "zones",
                f"vuls_zones names {zone} {count} times",
                "a zone is one queue and one set of users",
                "name it once",
            )
        if not ZONE.fullmatch(str(zone)) or zone in accepted:
            yield finding(
                "zones",
                f"a zone cannot be called '{zone}'",
                "its name is part of names in systemd, PostgreSQL and Redis",
                "use up to 31 of a-z, 0-9 and _, beginning with a letter or digit, and not 'access'",
            )
        if zone not in {said[host].get("zone") for host in scan_hosts}:
            yield finding(
                "zones",
                f"no host of scan_hosts is in zone {zone}",
                "its runs would wait for ever",
                f"set vuls_zone: {zone} for a scan host in hosts.yml, or take the zone out of vuls_zones",
            )
    for key, hosts in (("zone", scan_hosts), ("target_zone", targets)):
        for host in hosts:
            if said[host].get(key) not in zones:
                yield finding(
                    "zones",
                    f"{host} is in zone '{said[host].get(key, '')}', which vuls_zones does not name",
                    "there is no queue, no user and no key for it",
                    f"set vuls_zone to one of {', '.join(map(str, zones))} for it, or add the zone to vuls_zones",
                )


def targets_of(targets: Sequence[str], said: Hosts) -> Iterator[Finding]:
    """Look for targets that would take each other's place."""
    for key, word in (("target_name", "scan_target_name"), ("target_id", "scan_target_id")):
        of_value: dict[str, list[str]] = {}
        for host in targets:
            default = re.sub(r"[^A-Za-z0-9_-]", "-", host) if key == "target_name" else 0
            of_value.setdefault(str(said[host].get(key, default)), []).append(host)
        for value, same in sorted(of_value.items()):
            if len(same) > 1 and value not in {"0", ""}:
                yield finding(
                    "inventory",
                    f"{', '.join(same)} have the same {word} ({value})",
                    "the scans of one would be shown as those of the other",
                    f"give all but one of them a {word} of its own",
                )


def broken_of(said: Hosts) -> Iterator[Finding]:
    """Pass on which values could not be worked out."""
    for host, own in said.items():
        for name, reason in own.get("broken", {}).items():
            yield finding(
                "variables",
                f"{name} of {host} cannot be worked out: {reason}",
                "the deployment would stop there",
                "mend it",
            )


def clients_of(databases: Sequence[str], said: Hosts) -> Iterator[Finding]:
    """Look at the networks that the database lets in, as pg_hba.conf takes them."""
    for host in databases:
        clients = said[host].get("database_clients")
        if clients is None:
            continue
        if isinstance(clients, str) or not isinstance(clients, Sequence) or not clients:
            yield finding(
                "inventory",
                f"vuls_database_clients of {host} is " + ("empty" if not clients else f"'{clients}', which is no list"),
                "the database would let nobody in",
                "list the networks of the web hosts, schedulers and scan hosts, as in [samenet, 10.1.0.0/16]",
            )
            continue
        for client in map(str, clients):
            reason = wrong_client(client)
            if reason:
                yield finding(
                    "inventory",
                    f"vuls_database_clients of {host} names '{client}', which {reason}",
                    "PostgreSQL refuses the whole of pg_hba.conf for such a line, or lets nobody in by it",
                    "write a network with its mask (10.1.0.0/16; one host: 10.1.0.7/32), a host name, or samenet",
                )


def is_masked(client: str) -> bool:
    """Tell whether this is an address and its mask in a column of its own, as pg_hba.conf takes them, too."""
    try:
        address, mask = map(ipaddress.ip_address, client.split())
        if address.version == 4:
            ipaddress.ip_network(f"{address}/{mask}", strict=False)
    except ValueError:
        return False
    return address.version == mask.version


def wrong_client(client: str) -> str:
    """Return what is wrong with an address of pg_hba.conf, empty where nothing is."""
    if client in {"all", "samehost", "samenet"} or is_masked(client):
        return ""
    address, slash, bits = client.partition("/")
    try:
        ipaddress.ip_address(address)
    except ValueError:
        # Digits and dots alone are a mistyped address.
        is_name = CLIENT_NAME.fullmatch(client) and not re.fullmatch(r"[0-9.]+", client)
        return "" if is_name else "is no network and no host name"
    if not slash:
        return "is an address without a mask"
    try:
        ipaddress.ip_network(client, strict=False)
    except ValueError:
        return "is no network"
    return "" if bits.isdecimal() else "is no network"


def passed_over_of(passed_over: Sequence[Mapping[str, Any]], own: Sequence[str]) -> Iterator[Finding]:
    """Look at what a group says in hosts.yml, where it loses to what all inventories share.

    A target may come from another inventory, whose variables are not ours because they have the name of one.
    """
    for entry in passed_over:
        name, group = entry["name"], entry["group"]
        ours = name.startswith(("vuls_", "scan_target_"))
        hosts = [host for host in entry["hosts"] if ours or (host in own and group != "all")]
        if hosts:
            places = ", ".join(hosts[:3]) + (f" and {len(hosts) - 3} more" if len(hosts) > 3 else "")
            yield finding(
                "variables",
                f"{name} of the group {group} in hosts.yml is passed over (for {places})",
                "the value that all inventories share, in group_vars/all, wins over what hosts.yml says of a group",
                f"move it to group_vars/{group}{'/main' if group == 'all' else ''}.yml, or say it of each host",
            )


def public_name_of(name: str) -> Iterator[Finding]:
    """Look at the name that people type."""
    if not name or EXAMPLE.search(name):
        yield finding(
            "inventory",
            f"vuls_public_name is {name or 'not set'}" + (", the example's" if name else ""),
            "nobody could open the page: certificate and allowed origin carry this name",
            "set it in group_vars/all/main.yml to the name that people will type",
        )


def state_dir_of(path: str) -> Iterator[Finding]:
    """Look at where secrets and the CA are kept."""
    if not path.startswith("/"):
        yield finding(
            "inventory",
            "vuls_state_dir is " + (f"'{path}', which is no absolute path" if path else "not set"),
            "secrets and the CA would have no place",
            "set it in group_vars/all/main.yml to a directory on the controller, outside git",
        )


def secrets_of(
    wanted: Sequence[str], given: Mapping[str, Any], missing_files: Sequence[str], makes_secrets: bool
) -> Iterator[Finding]:
    """Look at the secrets that come from elsewhere, and at those that should be there by now."""
    for name in sorted(set(given) - {*wanted, "admin_password"}):
        close = difflib.get_close_matches(name, wanted, 1)
        yield finding(
            "secrets",
            f"vuls_secret_values has {name}, which is no secret",
            "it is used for nothing",
            f"call it {close[0]}" if close else f"the names are: {', '.join(wanted)}",
        )
    for name in sorted(set(given) & {*wanted, "admin_password"}):
        value = str(given[name] or "")
        if len(value) < SECRET_LENGTH and not (name == "admin_password" and len(value) >= 12):
            yield finding(
                "secrets",
                f"the secret {name} in vuls_secret_values is {'empty' if not value else 'too short'}",
                "it could be guessed, and roles refuse it",
                f"use {SECRET_LENGTH} or more letters and digits; see what the vault or lookup that it is from returns",
            )
    if not makes_secrets:
        for path in missing_files:
            yield finding(
                "secrets",
                f"{path} is missing",
                "this playbook makes no secrets, and what runs on the hosts has others",
                "look whether vuls_state_dir is the right one; run site.yml first if this is a new deployment",
            )


def preflight_inventory(tiers: Mapping[str, Sequence[str]], given: Mapping[str, Any]) -> list[Finding]:
    """Return the findings about hosts, zones, names and secrets.

    Args:
        tiers: hosts by part.
        given: required (parts that have to be there), targets, everyone, zones, refused_zones, public_name, state_dir,
            hosts and passed_over (what preflight_read says), secret_names, secret_values, missing_secret_files,
            makes_secrets.

    """
    said = given["hosts"]
    own = list(dict.fromkeys(host for hosts in tiers.values() for host in hosts))
    return [
        *tiers_of(tiers, given["required"]),
        *strangers(tiers, given["targets"], given["everyone"]),
        *names_of(own, said),
        *zones_of(given["zones"], tiers.get("scan_hosts", []), given["targets"], said, given["refused_zones"]),
        *targets_of(given["targets"], said),
        *broken_of(said),
        *clients_of(tiers.get("postgresql", []), said),
        *passed_over_of(given["passed_over"], own),
        *public_name_of(given["public_name"]),
        *state_dir_of(given["state_dir"]),
        *secrets_of(
            given["secret_names"], given["secret_values"], given["missing_secret_files"], given["makes_secrets"]
        ),
    ]


def preflight_variables(
    hosts: Hosts,
    roles: Sequence[str],
    known: Sequence[str],
    renamed: Mapping[str, Mapping[str, str]],
    only: Sequence[str],
) -> list[Finding]:
    """Return the findings about variables that no role reads.

    Args:
        hosts: what preflight_read says of each.
        roles: names of the roles; a variable is ours when it begins with one of them.
        known: variables that are read.
        renamed: by the old name: `new` (empty where it is gone), `since` (a release) and, if wanted, `note`.
        only: hosts that are looked at; targets may come from another inventory, with variables of its own.

    """
    of_name: dict[str, list[str]] = {}
    for host in only:
        for name in hosts[host]["variables"]:
            of_name.setdefault(name, []).append(host)
    found = []
    for name, where in sorted(of_name.items()):
        places = ", ".join(where[:3]) + (f" and {len(where) - 3} more" if len(where) > 3 else "")
        if name in renamed:
            change = renamed[name]
            todo = f"set {change['new']} instead" if change["new"] else "take it out"
            found.append(
                finding(
                    "variables",
                    f"{name} (of {places}) is no more, since {change['since']}",
                    "it would be passed over, and a default would take its place",
                    todo + (f": {change['note']}" if change.get("note") else ""),
                )
            )
        elif name not in known and any(name.startswith(f"{role}_") for role in roles):
            close = difflib.get_close_matches(name, known, 1, 0.8)
            found.append(
                finding(
                    "variables",
                    f"no role reads {name} (of {places})",
                    "it would be passed over, and a default would take its place",
                    (f"did you mean {close[0]}? " if close else "")
                    + "roles/<role>/defaults/main.yml has the names; one of your own goes into preflight_own_variables",
                )
            )
    return found


class FilterModule:
    """Filters of the role preflight."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {"preflight_inventory": preflight_inventory, "preflight_variables": preflight_variables}
