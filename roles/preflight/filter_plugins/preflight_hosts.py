"""What stands in the way on the hosts: from what preflight_look saw on each, and what each has to have.

Findings have the form that preflight_inventory explains.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Finding = dict[str, str]
Looks = Mapping[str, Mapping[str, Any]]

DAY = 86400
# What is nobody's business on a host that is not touched.
BYSTANDING = {"access", "memory", "disk"}
# What a connection ended with, and what that says where the other side does listen.
TLS_WORDS = {
    "expired": "shows a certificate that has expired",
    "not_yet_valid": "shows a certificate that is not valid yet",
    "wrong_name": "shows a certificate without the name {name}",
    "wrong_ca": "shows a certificate of another CA",
    "no_tls": "does not speak TLS as it should",
}


def finding(check: str, what: str, means: str, todo: str) -> Finding:
    """Return one finding."""
    return {"check": check, "what": what, "means": means, "next": todo}


def numbers(version: str) -> tuple[int, ...]:
    """Return a version as numbers that compare."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def wanted_flows(host: str, flows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what a host connects to: host, port, tls, name, ca_file, service."""
    return [
        {
            "host": to,
            "port": int(port),
            "tls": flow.get("tls", ""),
            "name": flow.get("name") or to,
            "ca_file": flow.get("ca_file", ""),
            "service": flow["service"],
        }
        for flow in flows
        if host in flow["from"]
        for to in flow["to"]
        if to != host
        for port in flow["ports"]
    ]


def preflight_wanted(
    host: str, tiers: Mapping[str, Sequence[str]], flows: Sequence[Mapping[str, Any]], paths: Mapping[str, str]
) -> dict[str, Any]:
    """Return what preflight_look has to look at on a host: paths, names, connections."""
    connections = wanted_flows(host, flows)
    serves = any(host in flow["to"] for flow in flows if set(flow["from"]) - {host})
    return {
        "paths": sorted({"/", *(paths[tier] for tier, hosts in tiers.items() if host in hosts and tier in paths)}),
        "names": sorted({wanted["host"] for wanted in connections} | ({host} if serves else set())),
        "connections": connections,
    }


def access(host: str, look: Mapping[str, Any]) -> Iterator[Finding]:
    """Look at whether Ansible gets in, and as whom."""
    if "no_connection" in look:
        yield finding(
            "access",
            f"{host} cannot be reached: {look['no_connection']}",
            "nothing can be deployed to it, and nothing else is known of it",
            "see whether it runs, and whether ansible_host, ansible_user and the SSH key are right",
        )
    elif "broken" in look:
        yield finding(
            "access",
            f"{host} cannot be looked at: {look['broken']}",
            "Ansible gets in but cannot work there, so nothing else is known of it",
            "see whether it has Debian's python3, and whether ansible_become works",
        )
    elif not look["look"]["root"]:
        yield finding(
            "access",
            f"Ansible is not root on {host}",
            "nothing can be installed",
            "connect as root, or set ansible_become: true for the group fleet",
        )


def system(host: str, seen: Mapping[str, Any], needs: Mapping[str, Any]) -> Iterator[Finding]:
    """Look at Debian, Python, memory and disk."""
    name, release = seen["system"].get("ID", "?"), seen["system"].get("VERSION_ID", "?")
    if name != "debian" or release not in needs["debian"]:
        yield finding(
            "versions",
            f"{host} runs {seen['system'].get('PRETTY_NAME', name + ' ' + release)}",
            "the roles are tried on Debian " + " and ".join(needs["debian"]) + " only",
            "install one of these",
        )
    elif numbers(seen["python"]) < numbers(needs["python"]):
        yield finding(
            "versions",
            f"Ansible uses Python {seen['python']} on {host}",
            f"the services need {needs['python']} or newer",
            "set ansible_python_interpreter to Debian's own /usr/bin/python3",
        )
    memory = sum(needs["memory_mib"].get(tier, 0) for tier in needs["tiers"][host])
    if seen["memory_mib"] < memory:
        yield finding(
            "memory",
            f"{host} has {seen['memory_mib']} MiB of memory; {', '.join(needs['tiers'][host])} need {memory}",
            "under load the kernel ends processes, the database among them",
            "give it more memory, or some of its parts to another host",
        )
    space = max((needs["disk_mib"].get(tier, 0) for tier in needs["tiers"][host]), default=0)
    told = set()
    for room in seen["room"]:
        if room["free_mib"] < space and room["device"] not in told:
            told.add(room["device"])
            yield finding(
                "disk",
                f"{host} has {room['free_mib']} MiB free in {room['path']}; {space} are needed",
                "a deployment that fills the disk stops half way, and a database on a full disk stops at once",
                "make room (old packages: apt-get clean; old logs: journalctl --vacuum-size=200M) or enlarge it",
            )
        elif room["free_files"] is not None and room["free_files"] < needs["files"] and room["device"] not in told:
            told.add(room["device"])
            yield finding(
                "disk",
                f"{host} can make {room['free_files']} more files in {room['path']}; {needs['files']} are needed",
                "no release can be installed, whatever space is free",
                "remove directories with many small files",
            )


def rollout(host: str, seen: Mapping[str, Any]) -> Iterator[Finding]:
    """Look at whether a rollout is going on, or was interrupted."""
    if not seen["lock"]:
        return
    try:
        lock = json.loads(seen["lock"])
    except ValueError:
        lock = {}
    who = f"{lock.get('user', 'somebody')} on {lock.get('host', 'an unknown machine')}"
    what = f"a {lock.get('verb', 'rollout')} of {lock.get('release') or 'a release'}"
    yield finding(
        "rollout",
        f"{what} by {who}, begun {lock.get('since', 'some time ago')}, is not done (its lock is on {host})",
        "a deployment beside it restarts what it is in the middle of, and gives all hosts the release of this checkout",
        "wait for its end, or, where it was interrupted, type its command again; where nobody will, "
        'accept it: -e \'{"preflight_accept": ["rollout"]}\'',
    )


def names(host: str, seen: Mapping[str, Any], wanted: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Look at whether a host knows those that it talks to, and is not taken for itself alone."""
    for name, found in seen["names"].items():
        services = sorted({one["service"] for one in wanted if one["host"] == name})
        if not found:
            yield finding(
                "names",
                f"{host} does not know the name {name}",
                f"it would not find {' and '.join(services) or 'its own address to listen on'}",
                f"put {name} into DNS, or into /etc/hosts of {host}",
            )
        elif name == host and all(address.startswith("127.") or address == "::1" for address in found):
            yield finding(
                "names",
                f"on {host} its own name leads to {', '.join(found)}",
                "its services would listen on the loopback address, where no other host reaches them",
                f"in /etc/hosts of {host}, replace the line '127.0.1.1 {host}' with its address in your network",
            )


def paths(
    looks: Looks, wanted: Mapping[str, Sequence[Mapping[str, Any]]], away: set[str], days: int, renews: bool
) -> Iterator[Finding]:
    """Look at connections that failed, and at certificates on the way.

    A port that nothing listens on yet refuses, which is as good as open; one that is filtered does not answer, and
    neither does one of a host of ours that is `away` (down, or left out by --limit). When a certificate of another CA
    ends is its owner's to watch.
    """
    for host, tried in looks.items():
        for one, asked in zip(tried["look"]["connections"], wanted[host], strict=True):
            to, port, result = one["host"], one["port"], one["result"]
            place = f"{asked['service']} at {to}:{port}"
            if result == "unknown_name":
                continue
            theirs = bool(asked["ca_file"])
            if result in {"timeout", "unreachable"} and to not in away:
                yield finding(
                    "reachability",
                    f"{host} does not reach {place} ({one['said']})",
                    "a firewall drops it, or there is no way between the networks; the service would fail the same way",
                    f"let TCP port {port} of {to} through from {host}",
                )
            elif result == "refused" and any(port == own["port"] for own in listening(looks, to)):
                yield finding(
                    "reachability",
                    f"{host} is refused by {place}, although something listens there",
                    "it listens on another address, such as the loopback one, or a firewall answers for it",
                    f"see on {to} which address it is (ss -ltn), and that {to} leads there on {host}",
                )
            elif result in TLS_WORDS and theirs:
                yield finding(
                    "certificates",
                    f"{place} {TLS_WORDS[result].format(name=asked['name'])} (seen from {host})",
                    f"clients verify with {asked['ca_file']}, so they refuse it",
                    "have whoever runs the server mend it, or, where its CA is another one, put that into the file",
                )
            elif result in TLS_WORDS and not renews:
                yield finding(
                    "certificates",
                    f"{place} {TLS_WORDS[result].format(name=asked['name'])} (seen from {host})",
                    "clients verify, so they refuse it",
                    "run site.yml, which makes certificates anew that are due; "
                    "if it says so again, look whether vuls_state_dir is the one that the hosts were deployed from",
                )
            elif one.get("ends") and not theirs and one["ends"] - tried["look"]["clock"] < days * DAY and not renews:
                yield finding(
                    "certificates",
                    f"the certificate of {place} ends in {int((one['ends'] - tried['look']['clock']) // DAY)} days",
                    "then clients refuse it",
                    "run site.yml, which makes certificates anew that are due",
                )


def listening(looks: Looks, host: str) -> Sequence[Mapping[str, Any]]:
    """Return the ports that a host listens on, as far as it was looked at."""
    return looks[host]["look"]["listeners"] if host in looks else []


def agreement(spans: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the span in which most of the given ones overlap (Marzullo's algorithm); the first of several."""
    edges = sorted([(low, -1) for low, _ in spans] + [(high, 1) for _, high in spans])
    best, now, found = 0, 0, (0.0, 0.0)
    for number, (place, kind) in enumerate(edges):
        now -= kind
        if now > best:
            best, found = now, (place, edges[number + 1][0])
    return found


def clocks(looks: Looks, limit: float) -> Iterator[Finding]:
    """Look at how far clocks are apart, counting only what the time that asking takes cannot explain.

    The controller is one of them: if all hosts agree against it, it is the controller's that is wrong.
    """
    # By how much each is ahead of the controller: it read its clock after `began`, and then spent the rest of the time.
    spans = {"the controller": (0.0, 0.0)}
    for host, tried in looks.items():
        clock = tried["look"]["clock"]
        spans[host] = (clock - tried["ended"] + tried["look"]["spent"], clock - tried["began"])
    low, high = agreement(list(spans.values()))
    for host, (least, most) in spans.items():
        apart = max(least - high, low - most)
        if apart > limit:
            yield finding(
                "clocks",
                f"the clock of {host} is at least {apart:.0f} s {'ahead of' if least > high else 'behind'} the others",
                "certificates are refused, sessions end early, schedules fire at the wrong time, logs do not compare",
                f"set it (timedatectl) and keep it right, with systemd-timesyncd or chrony on {host}",
            )


def same_versions(looks: Looks, postgresql: Sequence[str], major: Mapping[str, str]) -> Iterator[Finding]:
    """Look at whether all database hosts have one PostgreSQL, and each the one of its Debian."""
    found: dict[str, list[str]] = {}
    for host in postgresql:
        if host not in looks:
            continue
        seen = looks[host]["look"]
        mine = major.get(seen["system"].get("VERSION_ID", ""), "?")
        found.setdefault(mine, []).append(host)
        others = [version for version in seen["postgresql"] if version != mine]
        if others and mine not in seen["postgresql"]:
            yield finding(
                "versions",
                f"{host} has the data of PostgreSQL {', '.join(others)}, and its Debian has {mine}",
                "an empty database would be made beside the old one, and the application would find nothing",
                f"upgrade it first: pg_upgradecluster {others[-1]} main",
            )
    if len(found) > 1:
        what = "; ".join(f"{version} on {', '.join(hosts)}" for version, hosts in sorted(found.items()))
        yield finding(
            "versions",
            f"the database hosts have different versions of PostgreSQL: {what}",
            "a replica cannot follow a primary of another major version",
            "install the same Debian on all hosts of the group postgresql",
        )


def authority(looks: Looks, ca: str) -> Iterator[Finding]:
    """Look at whether the hosts trust the CA that this deployment has."""
    others = sorted(host for host, tried in looks.items() if tried["look"]["ca"] not in {"", ca})
    if others:
        yield finding(
            "certificates",
            f"{', '.join(others)} trust another CA than the one in vuls_state_dir"
            + ("" if ca else " (which has none: a first run would make one)"),
            "they were deployed from another state directory: all passwords and certificates would be replaced",
            "look at vuls_state_dir (and VULS_STATE_DIR) first; if a new CA is what you want, accept it: -e "
            '\'{"preflight_accept": ["certificates"]}\'',
        )


def leaves(looks: Looks, days: int, renews: bool) -> Iterator[Finding]:
    """Look at the certificates that hosts have: one that the controller made anew may not have come to all of them."""
    for host, tried in looks.items():
        for path, ends in tried["look"]["leaves"].items():
            left = int((ends - tried["look"]["clock"]) // DAY)
            # Of a name that the host had before, nobody reads it.
            if left >= days or renews or not path.endswith(f"/{host}.crt"):
                continue
            words = "has expired" if left < 0 else f"ends in {left} days"
            yield finding(
                "certificates",
                f"the certificate {path} on {host} {words}",
                "then those that it talks to refuse it, also where the controller has a newer one",
                f"run site.yml, which makes certificates anew that are due and brings them to the hosts; its --limit "
                f"must not leave out {host}",
            )


def told(host: str, found: Iterator[Finding], given: Mapping[str, Any]) -> list[Finding]:
    """Return the findings about a host; of a bystander some do not count."""
    bystands = host in given["bystanders"]
    return [one | ({"counts": ""} if bystands and one["check"] in BYSTANDING else {}) for one in found]


def preflight_hosts(tried: Looks, given: Mapping[str, Any]) -> list[Finding]:
    """Return the findings about hosts.

    Args:
        tried: by host, what the action preflight_look returned.
        given: tiers, flows, debian (releases), python (version), postgresql (major version by Debian release),
            memory_mib and disk_mib (by part), files, clock_skew (seconds), certificate_days, renews_certificates, ca
            (the digest of its certificate), bystanders (hosts whose access, memory and disk are nobody's business; such
            findings have the further key "counts", which is empty), lock_host (where a rollout keeps its lock) and lock
            (what it says there, empty without one), which count where that host is not among those looked at.

    """
    found = [one for host, answer in tried.items() for one in told(host, access(host, answer), given)]
    looks = {host: answer for host, answer in tried.items() if "look" in answer}
    parts = {host: [tier for tier, hosts in given["tiers"].items() if host in hosts] for host in looks}
    wanted = {host: wanted_flows(host, given["flows"]) for host in looks}
    for host, answer in looks.items():
        found += told(host, system(host, answer["look"], {**given, "tiers": parts}), given)
        found += names(host, answer["look"], wanted[host])
        found += rollout(host, answer["look"])
    if given["lock_host"] not in looks:
        found += rollout(given["lock_host"], {"lock": given["lock"]})
    found += same_versions(looks, given["tiers"].get("postgresql", []), given["postgresql"])
    found += authority(looks, given["ca"])
    away = {host for hosts in given["tiers"].values() for host in hosts} - set(looks)
    found += paths(looks, wanted, away, given["certificate_days"], given["renews_certificates"])
    found += leaves(looks, given["certificate_days"], given["renews_certificates"])
    found += clocks(looks, given["clock_skew"])
    return found


class FilterModule:
    """Filters of the role preflight."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {"preflight_hosts": preflight_hosts, "preflight_wanted": preflight_wanted}
