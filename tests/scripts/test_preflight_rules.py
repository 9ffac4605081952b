"""What the role preflight finds, rule by rule: each thing that is wrong once, and nothing where nothing is wrong."""

import copy
import datetime as dt
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from .rules import ROOT, plugin, settings

INVENTORY = plugin("preflight", "filter_plugins", "preflight_inventory")
HOSTS = plugin("preflight", "filter_plugins", "preflight_hosts")
CONTROLLER = plugin("preflight", "filter_plugins", "preflight_controller")
LOOK = plugin("preflight", "library", "preflight_look")
DEFAULTS = settings(ROOT / "roles/preflight/defaults/main.yml")
RENAMED = settings(ROOT / "roles/preflight/vars/main.yml")["__preflight_renamed"]
NOW = 1_800_000_000.0

Found = list[dict[str, str]]
Change = Callable[[dict[str, Any]], object]


def sentences(found: Found) -> str:
    return "\n".join(f"[{one['check']}] {one['what']} | {one['means']} | {one['next']}" for one in found)


# --- the inventory
def inventory() -> dict[str, Any]:
    """What a production inventory says, without fault."""
    own = ["lb-1", "web-1", "web-2", "redis-1", "redis-2", "redis-3", "db-1", "scan-1", "scan-2"]
    hosts: dict[str, Any] = {host: {"variables": ["web_instances"], "broken": {}, "target_zone": "dmz"} for host in own}
    hosts["db-1"]["database_clients"] = [
        "samenet",
        "10.1.0.0/16",
        "2001:db8::/32",
        "10.2.0.7/16",
        "web_9",
        ".corp.test",
    ]
    hosts["scan-1"]["zone"], hosts["scan-2"]["zone"] = "dmz", "office"
    hosts |= {f"t-{n}": {"variables": [], "broken": {}, "target_zone": "office", "target_id": n} for n in (1, 2)}
    return {
        "tiers": {
            "loadbalancers": ["lb-1"],
            "web": ["web-1", "web-2"],
            "schedulers": ["web-1"],
            "redis": ["redis-1", "redis-2", "redis-3"],
            "postgresql": ["db-1"],
            "scan_hosts": ["scan-1", "scan-2"],
        },
        "required": DEFAULTS["preflight_required"],
        "targets": ["t-1", "t-2"],
        "everyone": ["localhost", *hosts],
        "zones": ["dmz", "office"],
        "refused_zones": ["access"],
        "public_name": "vuls.corp.test",
        "state_dir": "/root/state",
        "hosts": hosts,
        "passed_over": [],
        "secret_names": ["redis_web", "database_web"],
        "secret_values": {},
        "missing_secret_files": ["/root/state/secrets/redis_web"],
        "makes_secrets": True,
    }


def of_inventory(change: Change = lambda _: None) -> Found:
    said = inventory()
    change(said)
    found: Found = INVENTORY.preflight_inventory(said.pop("tiers"), said)
    return found


def test_a_sound_inventory_has_no_findings() -> None:
    assert of_inventory() == []


@pytest.mark.parametrize(
    ("change", "check", "words"),
    [
        (lambda s: s["tiers"].update(schedulers=[]), "inventory", "no host is in the group schedulers"),
        (lambda s: s["everyone"].remove(s["tiers"]["redis"].pop()), "inventory", "2 hosts are in the group redis"),
        (lambda s: s["tiers"].update(backup=["db-1", "scan-1"]), "inventory", "2 hosts are in the group backup"),
        (lambda s: s["tiers"]["loadbalancers"].append("web-2"), "inventory", "web-2 is in the groups"),
        (lambda s: s["everyone"].append("lost-1"), "inventory", "lost-1 is in none of the groups"),
        (
            lambda s: s["hosts"]["db-1"].update(address="db-1.example.org"),
            "inventory",
            "still has the example's address",
        ),
        (
            lambda s: [s["hosts"][h].update(address="192.0.2.7") for h in ("web-1", "db-1")],
            "inventory",
            "web-1, db-1 are reached",
        ),
        (lambda s: s.update(public_name=""), "inventory", "vuls_public_name is not set"),
        (lambda s: s.update(public_name="vuls.example.org"), "inventory", "the example's"),
        (lambda s: s.update(state_dir=""), "inventory", "vuls_state_dir is not set"),
        (lambda s: s.update(state_dir="state"), "inventory", "no absolute path"),
        (lambda s: s["hosts"]["t-2"].update(target_id=1), "inventory", "t-1, t-2 have the same scan_target_id (1)"),
        (
            lambda s: [s["hosts"][h].update(target_name="x") for h in ("t-1", "t-2")],
            "inventory",
            "the same scan_target_name (x)",
        ),
        (lambda s: s["zones"].append("lab"), "zones", "no host of scan_hosts is in zone lab"),
        (lambda s: s["zones"].append("dmz"), "zones", "vuls_zones names dmz 2 times"),
        (
            lambda s: [s["zones"].remove("office"), s["targets"].clear(), s["everyone"].__delitem__(slice(-2, None))],
            "zones",
            "scan-2 is in zone 'office'",
        ),
        (lambda s: s["hosts"]["t-1"].update(target_zone="lab"), "zones", "t-1 is in zone 'lab'"),
        (
            lambda s: s["hosts"]["web-1"]["broken"].update(web_x="undefined"),
            "variables",
            "web_x of web-1 cannot be worked out",
        ),
        (
            lambda s: s["secret_values"].update(redis_web="short"),
            "secrets",
            "redis_web in vuls_secret_values is too short",
        ),
        (lambda s: s["secret_values"].update(redis_web=""), "secrets", "redis_web in vuls_secret_values is empty"),
        (lambda s: s["secret_values"].update(redis_wbe="x" * 40), "secrets", "call it redis_web"),
        (lambda s: s.update(makes_secrets=False), "secrets", "/root/state/secrets/redis_web is missing"),
    ],
)
def test_what_is_wrong_in_an_inventory_is_found_once(change: Change, check: str, words: str) -> None:
    found = of_inventory(change)
    assert [one["check"] for one in found] == [check], sentences(found)
    assert words in sentences(found)


@pytest.mark.parametrize(
    ("clients", "words"),
    [
        ([], "vuls_database_clients of db-1 is empty"),
        ("10.1.0.0/16", "is '10.1.0.0/16', which is no list"),
        (["10.1.0.7"], "'10.1.0.7', which is an address without a mask"),
        (["::1"], "'::1', which is an address without a mask"),
        (["10.1.0.0/33"], "'10.1.0.0/33', which is no network"),
        (["10.1.0.0/255.255.0.0"], "'10.1.0.0/255.255.0.0', which is no network"),
        (["10.1.0/24"], "'10.1.0/24', which is no network and no host name"),
        (["10.1.0.256"], "'10.1.0.256', which is no network and no host name"),
        (["samenet", "web..1"], "'web..1', which is no network and no host name"),
        (["web-1/24"], "'web-1/24', which is no network and no host name"),
        (["web 1"], "'web 1', which is no network and no host name"),
        (["10.1.0.0 16"], "'10.1.0.0 16', which is no network and no host name"),
        (["10.1.0.0 255.0.255.0"], "'10.1.0.0 255.0.255.0', which is no network and no host name"),
    ],
)
def test_what_pg_hba_does_not_take_for_a_client_is_found(clients: object, words: str) -> None:
    found = of_inventory(lambda s: s["hosts"]["db-1"].update(database_clients=clients))
    assert [one["check"] for one in found] == ["inventory"], sentences(found)
    assert words in sentences(found)


@pytest.mark.parametrize(
    ("name", "group", "hosts", "is_found"),
    [
        ("vuls_zone", "targets", ["t-1"], True),
        ("vuls_zone", "all", ["scan-1"], True),
        ("redis_port", "redis", ["redis-1"], True),
        ("redis_port", "their_redis", ["t-1"], False),
        ("redis_port", "all", ["redis-1", "t-1"], False),
    ],
)
def test_what_a_group_says_in_vain_is_found_where_it_is_ours(
    name: str, group: str, hosts: list[str], is_found: bool
) -> None:
    found = of_inventory(lambda s: s["passed_over"].append({"name": name, "group": group, "hosts": hosts}))
    assert [one["check"] for one in found] == ["variables"] * is_found
    assert not is_found or f"{name} of the group {group} in hosts.yml is passed over" in sentences(found)


@pytest.mark.parametrize("zone", ["access", "DMZ", "a-b", "", "x" * 32, "_x"])
def test_a_zone_whose_name_does_not_fit_everywhere_is_found(zone: str) -> None:
    found = of_inventory(
        lambda s: (s["zones"].append(zone), s["hosts"]["scan-1"].update(zone=zone), s["zones"].remove("dmz"))
    )
    assert f"a zone cannot be called '{zone}'" in sentences(found)


@pytest.mark.parametrize("name", ["web_1", "-web", "web-", "a..b", "x" * 64])
def test_a_name_that_no_certificate_can_carry_is_found(name: str) -> None:
    def rename(said: dict[str, Any]) -> None:
        said["tiers"]["loadbalancers"] = [name]
        said["hosts"][name] = said["hosts"].pop("lb-1")
        said["everyone"] = [host for host in said["everyone"] if host != "lb-1"]

    assert f"'{name}' is no host name" in sentences(of_inventory(rename))


def test_all_findings_come_at_once() -> None:
    def break_it(said: dict[str, Any]) -> None:
        said["tiers"]["postgresql"] = []
        said["zones"].append("lab")
        said["public_name"] = ""

    text = CONTROLLER.preflight_text(of_inventory(break_it))
    # db-1 is in no group any more.
    assert text.startswith("4 findings; nothing was changed.")
    assert text.count("Meaning: ") == text.count("Next:    ") == 4


def test_what_is_accepted_is_not_in_the_list() -> None:
    found = of_inventory(lambda s: (s["zones"].append("lab"), s.update(public_name="")))
    assert CONTROLLER.preflight_text(found, ["zones"]).startswith("1 finding;")


# --- variables
def of_variables(*names: str, host: str = "web-1") -> Found:
    found: Found = INVENTORY.preflight_variables(
        {host: {"variables": list(names)}}, ["web", "vuls"], ["web_instances", "vuls_zones"], RENAMED, ["web-1"]
    )
    return found


def test_variables_that_roles_read_and_those_of_others_are_no_finding() -> None:
    assert of_variables("web_instances", "vuls_zones", "ansible_host", "website", "ntp_servers", "__web_x") == []


def test_a_variable_that_no_role_reads_is_found_with_the_name_that_was_meant() -> None:
    assert "did you mean web_instances?" in sentences(of_variables("web_instanses"))


@pytest.mark.parametrize("old", sorted(RENAMED))
def test_a_renamed_variable_is_found_with_its_new_name(old: str) -> None:
    found = of_variables(old)
    assert len(found) == 1
    assert f"{old} (of web-1) is no more" in found[0]["what"]
    assert (RENAMED[old]["new"] or "take it out") in found[0]["next"]


def known_variables() -> set[str]:
    specs = [settings(path)["argument_specs"] for path in ROOT.glob("roles/*/meta/argument_specs.yml")]
    wiring = [set(settings(path)) for path in ROOT.glob("inventories/shared/*.yml")]
    return {name for spec in specs for entry in spec.values() for name in entry.get("options", {})}.union(*wiring)


def test_the_table_of_renamed_variables_leads_from_names_that_are_gone_to_names_that_are_there() -> None:
    assert not set(RENAMED) & known_variables(), "a name that is read again is not renamed"
    assert {change["new"] for change in RENAMED.values()} - {""} <= known_variables()


def test_defaults_of_a_role_that_were_there_once_are_there_or_in_the_table() -> None:
    """Whoever renames a variable adds it to the table: the names of the last release are checked in."""
    once = set((ROOT / "tests/data/variables.txt").read_text().split())
    gone = once - known_variables() - set(RENAMED)
    assert not gone, f"add to __preflight_renamed in roles/preflight/vars/main.yml: {sorted(gone)}"


# --- hosts
FLOWS = [{"from": ["web-1"], "to": ["db-1"], "ports": [5432], "service": "PostgreSQL", "tls": "postgresql"}]


def seen(host: str, **changes: Any) -> dict[str, Any]:
    """What a sound host shows."""
    connections = [{"host": "db-1", "port": 5432, "result": "open", "said": "", "ends": NOW + 200 * 86400}]
    look = {
        "clock": NOW + 1,
        "spent": 0.5,
        "system": {"ID": "debian", "VERSION_ID": "13", "PRETTY_NAME": "Debian GNU/Linux 13 (trixie)"},
        "python": "3.13.5",
        "memory_mib": 4000,
        "room": [{"path": "/opt", "device": 1, "free_mib": 9000, "free_files": 900_000}],
        "postgresql": ["17"] if host.startswith("db") else [],
        "root": True,
        "ca": "digest",
        "listeners": [{"port": 5432, "others": True}] if host == "db-1" else [],
        "names": {"web-1": {"db-1": ["192.0.2.5"]}, "db-1": {"db-1": ["192.0.2.5"]}}.get(host, {}),
        "connections": connections if host == "web-1" else [],
        "lock": "",
        "leaves": {f"/etc/vuls/pki/{host}.crt": NOW + 200 * 86400},
    }
    return {"began": NOW, "ended": NOW + 2, "look": look | changes}


def of_hosts(tried: dict[str, Any] | None = None, **given: Any) -> Found:
    hosts = {"web-1": seen("web-1"), "db-1": seen("db-1"), "db-2": seen("db-2")} | (tried or {})
    defaults = {
        "tiers": {"web": ["web-1"], "postgresql": ["db-1", "db-2"]},
        "flows": FLOWS,
        "debian": list(DEFAULTS["preflight_debian"]),
        "postgresql": DEFAULTS["preflight_debian"],
        "python": DEFAULTS["preflight_python"],
        "memory_mib": DEFAULTS["preflight_memory_mib"],
        "disk_mib": DEFAULTS["preflight_disk_mib"],
        "files": DEFAULTS["preflight_files"],
        "clock_skew": DEFAULTS["preflight_clock_skew"],
        "certificate_days": DEFAULTS["preflight_certificate_days"],
        "renews_certificates": False,
        "ca": "digest",
        "bystanders": [],
        "lock_host": "web-1",
        "lock": "",
    }
    found: Found = HOSTS.preflight_hosts(hosts, defaults | given)
    return found


def connection(result: str, **more: Any) -> dict[str, Any]:
    tried = {"host": "db-1", "port": 5432, "result": result, "said": "it says"}
    return seen("web-1", connections=[tried | more])


def leaf(host: str, days: int, name: str = "") -> dict[str, Any]:
    return seen(host, leaves={f"/etc/vuls/pki-backup/{name or host}.crt": NOW + days * 86400})


def test_sound_hosts_have_no_findings() -> None:
    assert of_hosts() == []


@pytest.mark.parametrize(
    ("lock", "words"),
    [
        (
            {
                "user": "anna",
                "host": "desk",
                "verb": "rollback",
                "release": "0123456789ab",
                "since": "2026-11-30 10:00:00 UTC",
            },
            "a rollback of 0123456789ab by anna on desk, begun 2026-11-30 10:00:00 UTC, is not done (its lock is on",
        ),
        ({}, "a rollout of a release by somebody on an unknown machine"),
    ],
)
def test_a_rollout_that_is_not_done_is_told_with_its_operator(lock: dict[str, str], words: str) -> None:
    (found,) = of_hosts({"web-1": seen("web-1", lock=json.dumps(lock))})
    assert found["check"] == "rollout"
    assert words in found["what"]
    assert "accept" in found["next"]


def test_a_lock_that_nobody_can_read_is_one_too() -> None:
    (found,) = of_hosts({"web-1": seen("web-1", lock="half a l")})
    assert found["check"] == "rollout"


def test_bare_hosts_have_no_findings_either() -> None:
    bare = {"ca": "", "listeners": [], "postgresql": []}
    tried = {host: seen(host, **bare) for host in ("web-1", "db-1", "db-2")}
    tried["web-1"]["look"]["connections"] = [{"host": "db-1", "port": 5432, "result": "refused", "said": ""}]
    assert of_hosts(tried, ca="") == []


@pytest.mark.parametrize(
    ("tried", "check", "words"),
    [
        ({"db-2": {"no_connection": "No route to host"}}, "access", "db-2 cannot be reached: No route to host"),
        ({"db-2": {"broken": "sudo: a password is required"}}, "access", "db-2 cannot be looked at: sudo"),
        ({"db-2": seen("db-2", root=False)}, "access", "Ansible is not root on db-2"),
        (
            {"web-1": seen("web-1", system={"ID": "debian", "VERSION_ID": "11", "PRETTY_NAME": "Debian 11"})},
            "versions",
            "web-1 runs Debian 11",
        ),
        ({"web-1": seen("web-1", python="3.9.2")}, "versions", "Ansible uses Python 3.9.2 on web-1"),
        ({"web-1": seen("web-1", memory_mib=400)}, "memory", "web-1 has 400 MiB of memory; web need 448"),
        (
            {"web-1": seen("web-1", room=[{"path": "/opt", "device": 1, "free_mib": 100, "free_files": None}])},
            "disk",
            "web-1 has 100 MiB free in /opt; 1024 are needed",
        ),
        (
            {
                "web-1": seen(
                    "web-1", room=[{"path": p, "device": 1, "free_mib": 100, "free_files": 9} for p in ("/", "/opt")]
                )
            },
            "disk",
            "100 MiB free in /;",
        ),
        (
            {"web-1": seen("web-1", room=[{"path": "/opt", "device": 1, "free_mib": 9000, "free_files": 12}])},
            "disk",
            "web-1 can make 12 more files",
        ),
        ({"web-1": seen("web-1", names={"db-1": []})}, "names", "web-1 does not know the name db-1"),
        ({"db-1": seen("db-1", names={"db-1": ["127.0.1.1"]})}, "names", "on db-1 its own name leads to 127.0.1.1"),
        ({"db-2": seen("db-2", ca="another")}, "certificates", "db-2 trust another CA"),
        ({"db-2": seen("db-2", postgresql=["15"])}, "versions", "has the data of PostgreSQL 15, and its Debian has 17"),
        ({"web-1": connection("timeout")}, "reachability", "web-1 does not reach PostgreSQL at db-1:5432 (it says)"),
        ({"web-1": connection("refused")}, "reachability", "although something listens there"),
        ({"web-1": connection("expired")}, "certificates", "shows a certificate that has expired"),
        ({"web-1": connection("wrong_name")}, "certificates", "without the name db-1"),
        ({"web-1": connection("wrong_ca")}, "certificates", "of another CA"),
        ({"web-1": connection("no_tls")}, "certificates", "does not speak TLS"),
        ({"web-1": connection("open", ends=NOW + 10 * 86400)}, "certificates", "ends in 9 days"),
        ({"web-1": leaf("web-1", 10)}, "certificates", "/etc/vuls/pki-backup/web-1.crt on web-1 ends in 9 days"),
        ({"db-2": leaf("db-2", -1)}, "certificates", "/etc/vuls/pki-backup/db-2.crt on db-2 has expired"),
    ],
)
def test_what_is_wrong_on_a_host_is_found_once(tried: dict[str, Any], check: str, words: str) -> None:
    found = of_hosts(copy.deepcopy(tried))
    assert [one["check"] for one in found] == [check], sentences(found)
    assert words in sentences(found)


@pytest.mark.parametrize("result", ["expired", "wrong_name", "wrong_ca"])
def test_a_certificate_that_the_run_makes_anew_is_no_finding(result: str) -> None:
    assert of_hosts({"web-1": connection(result)}, renews_certificates=True) == []


def test_an_old_certificate_that_the_run_replaces_or_nobody_reads_is_no_finding() -> None:
    assert of_hosts({"web-1": leaf("web-1", 10)}, renews_certificates=True) == []
    assert of_hosts({"web-1": leaf("web-1", 10, name="web-of-before")}) == []


def test_a_connection_to_a_host_that_is_not_looked_at_may_fail() -> None:
    """The host is down, which is a finding already, or --limit left it out."""
    gone = {"no_connection": "down"}
    found = of_hosts({"web-1": connection("timeout"), "db-1": gone})
    assert [one["check"] for one in found] == ["access"]


THEIRS = "/etc/ssl/theirs.crt"
OUTSIDE = [
    {
        "from": ["web-1"],
        "to": ["db.corp.test"],
        "ports": [5432],
        "service": "PostgreSQL",
        "tls": "postgresql",
        "ca_file": THEIRS,
    }
]


@pytest.mark.parametrize("renews", [False, True])
@pytest.mark.parametrize(
    ("result", "check", "words"),
    [
        ("timeout", "reachability", "web-1 does not reach PostgreSQL at db.corp.test:5432 (it says)"),
        (
            "wrong_ca",
            "certificates",
            "shows a certificate of another CA (seen from web-1) | clients verify with " + THEIRS,
        ),
        ("expired", "certificates", "have whoever runs the server mend it"),
        ("open", "", ""),
        # As good as open: so does a server that is not started yet.
        ("refused", "", ""),
    ],
)
def test_a_server_that_somebody_else_runs_is_looked_at_too(result: str, check: str, words: str, renews: bool) -> None:
    tried = connection(result, host="db.corp.test", ends=NOW + 86400)
    found = of_hosts({"web-1": tried}, flows=OUTSIDE, renews_certificates=renews)
    assert [one["check"] for one in found] == [check] * bool(check), sentences(found)
    assert words in sentences(found)


def test_a_host_is_told_the_ca_of_each_connection() -> None:
    wanted = HOSTS.preflight_wanted("web-1", {"web": ["web-1"]}, [*FLOWS, *OUTSIDE], {})
    assert [(one["host"], one["ca_file"]) for one in wanted["connections"]] == [("db-1", ""), ("db.corp.test", THEIRS)]


def test_database_hosts_of_two_versions_are_found() -> None:
    twelve = {"ID": "debian", "VERSION_ID": "12"}
    found = of_hosts({"db-2": seen("db-2", system=twelve, postgresql=["15"])})
    assert "different versions of PostgreSQL: 15 on db-2; 17 on db-1" in sentences(found)


@pytest.mark.parametrize(("seconds", "word"), [(60.0, "ahead of"), (-60.0, "behind")])
def test_a_clock_that_is_apart_is_found(seconds: float, word: str) -> None:
    late = seen("db-2")
    late["look"]["clock"] += seconds
    found = of_hosts({"db-2": late})
    assert [one["check"] for one in found] == ["clocks"]
    # Two seconds less half of one that the module spent are what asking may explain.
    assert re.fullmatch(rf"the clock of db-2 is at least (59|60) s {word} the others", found[0]["what"])


def test_a_controller_that_is_apart_from_all_hosts_is_found_and_no_host_is() -> None:
    hosts = {host: seen(host) for host in ("web-1", "db-1", "db-2")}
    for host in hosts.values():
        host["look"]["clock"] += 600
    assert "the clock of the controller is" in sentences(of_hosts(hosts))
    assert len(of_hosts(hosts)) == 1


def test_a_slow_answer_is_not_taken_for_a_clock_that_is_apart() -> None:
    slow = seen("db-2")
    slow.update(began=NOW - 50, ended=NOW + 50)
    assert of_hosts({"db-2": slow}) == []


# --- the controller
def pair(
    name: str,
    directory: Path,
    days: int,
    issuer: tuple[x509.Certificate, Any] | None = None,
    names: tuple[str, ...] = (),
) -> tuple[x509.Certificate, Any]:
    """Make a certificate and its key: a CA without an issuer."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=400))
        .not_valid_after(now + dt.timedelta(days=days, hours=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    signer = issuer[1] if issuer else key
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
    )
    if issuer is None:
        usage = dict.fromkeys(
            ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
        )
        more = {"key_cert_sign": True, "crl_sign": True, "encipher_only": False, "decipher_only": False}
        builder = builder.add_extension(x509.KeyUsage(**usage, **more), critical=True)
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(one) for one in names]), critical=False
        )
    made = builder.sign(signer, hashes.SHA256())
    file = "ca" if issuer is None else name
    (directory / f"{file}.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / f"{file}.key").write_bytes(private)
    return made, key


def of_controller(directory: Path, **changes: Any) -> Found:
    controller = {"ansible": "2.19.4", "python": "3.11.2", "collections": {"community.crypto": "3.0.4"}} | changes.pop(
        "controller", {}
    )
    given = {
        "ansible": DEFAULTS["preflight_ansible"],
        "python": DEFAULTS["preflight_python"],
        "collections": [{"name": "community.crypto", "version": ">=3.0.0"}],
        "authorities": [
            {
                "pki_dir": str(directory),
                "leaves": changes.pop("leaves", [{"name": "db-1", "alternative_names": ["DNS:db.test"]}]),
            },
            *changes.pop("more", []),
        ],
        "ca_days": 90,
        "certificate_days": 14,
        "makes_missing": False,
        "renews_certificates": False,
    }
    found: Found = CONTROLLER.preflight_controller(controller, given | changes)
    return found


@pytest.mark.parametrize(
    ("controller", "words"),
    [
        ({"ansible": "2.18.9"}, "this is ansible-core 2.18.9"),
        ({"ansible": "2.22.0"}, "this is ansible-core 2.22.0"),
        ({"python": "3.10.1"}, "Ansible runs on Python 3.10.1"),
        ({"collections": {"community.crypto": "2.9.0"}}, "the collection community.crypto is 2.9.0"),
        ({"collections": {}}, "the collection community.crypto is missing"),
    ],
)
def test_a_controller_of_another_version_is_found(tmp_path: Path, controller: dict[str, Any], words: str) -> None:
    assert words in sentences(of_controller(tmp_path, controller=controller, leaves=[]))


def test_before_the_first_deployment_there_is_no_ca_and_no_finding(tmp_path: Path) -> None:
    assert of_controller(tmp_path, makes_missing=True) == []


def test_sound_certificates_are_no_finding(tmp_path: Path) -> None:
    pair("db-1", tmp_path, 100, pair("CA", tmp_path, 1000), ("db-1", "db.test"))
    assert of_controller(tmp_path) == []


@pytest.mark.parametrize(
    ("days", "names", "words"),
    [
        (-3, ("db-1", "db.test"), "has expired"),
        (5, ("db-1", "db.test"), "ends in 5 days"),
        (100, ("db-1",), "does not carry DNS:db.test"),
        (100, (), "does not carry DNS:db-1, DNS:db.test"),
    ],
)
def test_a_certificate_that_clients_would_refuse_is_found_where_none_is_made_anew(
    tmp_path: Path, days: int, names: tuple[str, ...], words: str
) -> None:
    pair("db-1", tmp_path, days, pair("CA", tmp_path, 1000), names)
    found = of_controller(tmp_path)
    assert [one["check"] for one in found] == ["certificates"], sentences(found)
    assert words in sentences(found)
    assert of_controller(tmp_path, renews_certificates=True) == []


def test_certificates_of_a_second_ca_are_looked_at_too(tmp_path: Path) -> None:
    pair("db-1", tmp_path, 100, pair("CA", tmp_path, 1000), ("db-1", "db.test"))
    second = tmp_path / "backups"
    second.mkdir()
    pair("backup-1", second, 5, pair("CA", second, 1000), ("backup-1",))
    found = of_controller(tmp_path, more=[{"pki_dir": str(second), "leaves": [{"name": "backup-1"}]}])
    assert [one["what"] for one in found] == [f"the certificate {second}/backup-1.crt ends in 5 days"]


def test_a_certificate_of_another_ca_is_found(tmp_path: Path) -> None:
    pair("db-1", tmp_path, 100, pair("Other", tmp_path, 1000), ("db-1", "db.test"))
    pair("CA", tmp_path, 1000)
    assert "of another CA" in sentences(of_controller(tmp_path))


@pytest.mark.parametrize(("days", "words"), [(-1, "has expired"), (30, "ends in 30 days")])
def test_a_ca_that_ends_is_found_whatever_follows(tmp_path: Path, days: int, words: str) -> None:
    pair("CA", tmp_path, days)
    assert words in sentences(of_controller(tmp_path, renews_certificates=True))


def test_half_a_ca_is_found(tmp_path: Path) -> None:
    pair("CA", tmp_path, 1000)
    (tmp_path / "ca.key").unlink()
    assert "ca.key is missing" in sentences(of_controller(tmp_path, renews_certificates=True))


def test_a_ca_that_a_first_run_did_not_finish_is_none_yet(tmp_path: Path) -> None:
    pair("CA", tmp_path, 1000)
    (tmp_path / "ca.crt").unlink()
    assert of_controller(tmp_path, renews_certificates=True, makes_missing=True, leaves=[]) == []
    pair("db-1", tmp_path, 100, pair("CA", tmp_path, 1000))
    (tmp_path / "ca.crt").unlink()
    assert "ca.crt is missing" in sentences(of_controller(tmp_path, renews_certificates=True))


def test_the_key_of_another_ca_is_found(tmp_path: Path) -> None:
    pair("CA", tmp_path, 1000)
    other = tmp_path / "other"
    other.mkdir()
    pair("CA", other, 1000)
    (other / "ca.key").rename(tmp_path / "ca.key")
    assert "is not the key of" in sentences(of_controller(tmp_path, renews_certificates=True))


# --- the look itself, at this machine
@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Callable[..., int]]:
    """Start servers of one connection after the other, with TLS where a certificate is given."""
    sockets: list[socket.socket] = []

    def start(certificate: str = "", greeting: bytes = b"") -> int:
        server = socket.create_server(("127.0.0.1", 0))
        sockets.append(server)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if certificate:
            context.load_cert_chain(tmp_path / f"{certificate}.crt", tmp_path / f"{certificate}.key")

        def serve() -> None:
            while True:
                try:
                    peer, _ = server.accept()
                except OSError:
                    return
                with peer:
                    try:
                        if greeting:
                            peer.recv(8)
                            peer.sendall(greeting)
                        if certificate:
                            context.wrap_socket(peer, server_side=True).close()
                    except OSError:
                        continue

        threading.Thread(target=serve, daemon=True).start()
        return int(server.getsockname()[1])

    yield start
    for server in sockets:
        server.close()


def look(tmp_path: Path, *connections: dict[str, Any], lock: str = "") -> dict[str, Any]:
    asked = {
        "paths": ["/no/such/place"],
        "names": ["localhost", "no-such-name.invalid"],
        "timeout": 30.0,
        "lock_file": lock,
        "certificate_dirs": [str(tmp_path), "/no/such/place"],
    }
    result: dict[str, Any] = LOOK.look(asked | {"connections": list(connections), "ca_file": str(tmp_path / "ca.crt")})
    return result


def test_a_look_reads_the_lock_of_a_rollout(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text('{"verb": "rollout"}')
    assert look(tmp_path, lock=str(tmp_path / "lock"))["lock"] == '{"verb": "rollout"}'
    assert look(tmp_path, lock=str(tmp_path / "none"))["lock"] == ""


def test_a_look_tells_when_the_certificates_of_the_host_end(tmp_path: Path) -> None:
    made, _ = pair("db-1", tmp_path, 100, pair("CA", tmp_path, 1000))
    (tmp_path / "torn.crt").write_text("-----BEGIN CERTIFICATE-----")
    (tmp_path / "none.crt").mkdir()
    assert look(tmp_path)["leaves"] == {str(tmp_path / "db-1.crt"): int(made.not_valid_after_utc.timestamp())}


def test_a_look_tells_what_the_machine_is(tmp_path: Path) -> None:
    told = look(tmp_path)
    assert told["system"]["ID"] == "debian"
    assert told["memory_mib"] > 100
    assert told["room"][0]["free_mib"] > 0
    assert told["names"]["localhost"]
    assert told["names"]["no-such-name.invalid"] == []
    assert told["ca"] == ""


@pytest.mark.parametrize(
    ("days", "names", "result"),
    [(100, ("localhost",), "open"), (-1, ("localhost",), "expired"), (100, ("elsewhere",), "wrong_name")],
)
@pytest.mark.parametrize(("tls", "greeting"), [("direct", b""), ("postgresql", b"S")])
def test_a_look_sees_what_a_client_would_see(
    tmp_path: Path,
    listener: Callable[..., int],
    days: int,
    names: tuple[str, ...],
    result: str,
    tls: str,
    greeting: bytes,
) -> None:
    pair("leaf", tmp_path, days, pair("CA", tmp_path, 1000), names)
    port = listener("leaf", greeting)
    told = look(tmp_path, {"host": "127.0.0.1", "port": port, "tls": tls, "name": "localhost"})
    assert told["connections"][0]["result"] == result, told
    assert {"port": port, "others": False} in told["listeners"]


def test_a_look_sees_another_ca_a_server_without_tls_and_a_closed_port(
    tmp_path: Path, listener: Callable[..., int]
) -> None:
    pair("leaf", tmp_path, 100, pair("Other", tmp_path, 1000), ("localhost",))
    pair("CA", tmp_path, 1000)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        ports = [listener("leaf"), listener("", b"N"), closed.getsockname()[1]]
        kinds = ["direct", "postgresql", ""]
        asked = [
            {"host": "127.0.0.1", "port": port, "tls": tls, "name": "localhost"}
            for port, tls in zip(ports, kinds, strict=True)
        ]
        told = look(tmp_path, *asked)
    assert [one["result"] for one in told["connections"]] == ["wrong_ca", "no_tls", "refused"]


def test_a_look_trusts_another_ca_where_it_is_told_so(tmp_path: Path, listener: Callable[..., int]) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    pair("leaf", tmp_path, 100, pair("Other", theirs, 1000), ("localhost",))
    pair("CA", tmp_path, 1000)
    asked = {"host": "127.0.0.1", "port": listener("leaf"), "tls": "direct", "name": "localhost"}
    told = look(tmp_path, asked, asked | {"ca_file": str(theirs / "ca.crt")}, asked | {"ca_file": "/no/such/file"})
    assert [one["result"] for one in told["connections"]] == ["wrong_ca", "open", "open"]


def test_without_a_ca_on_the_host_a_connection_is_all_that_is_tried(
    tmp_path: Path, listener: Callable[..., int]
) -> None:
    told = look(tmp_path, {"host": "127.0.0.1", "port": listener(), "tls": "direct", "name": "localhost"})
    assert told["connections"][0]["result"] == "open"


def test_of_a_host_that_is_not_touched_access_memory_and_disk_do_not_count() -> None:
    room = [{"path": "/", "free_mib": 1, "free_files": None, "device": 1}]
    tried = {"db-1": seen("db-1", room=room, memory_mib=1), "db-2": {"no_connection": "timed out"}}
    counted = of_hosts(tried)
    assert sorted(one["check"] for one in counted) == ["access", "disk", "memory"]
    assert not any("counts" in one for one in counted)
    passed_over = of_hosts(tried, bystanders=["db-1", "db-2"])
    assert [one["counts"] for one in passed_over] == ["", "", ""]
    assert CONTROLLER.preflight_text(passed_over).startswith("0 findings")


def test_a_rollout_is_seen_where_its_host_is_not_among_those_that_are_looked_at() -> None:
    (found,) = of_hosts(lock_host="web-0", lock='{"verb": "rollback", "user": "anna"}')
    assert found["check"] == "rollout"
    assert "(its lock is on web-0)" in found["what"]
    assert of_hosts(lock='{"verb": "rollback"}') == [], "of a host that is looked at, what was seen there counts"
