"""Each inventory can be read, and used as its pages say."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from .ansible import ROOT, ansible, copied, said
from .rules import settings

INVENTORIES = sorted(path.parent.name for path in ROOT.glob("inventories/*/hosts.yml"))
SECRET = "a" * 40
PREFLIGHT = ("playbooks/preflight.yml", "-e", "preflight_look=false")


def listed(inventory: str) -> dict[str, Any]:
    result = ansible("ansible-inventory", "-i", inventory, "--list")
    assert result.returncode == 0, said(result)
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def shown(inventory: Path, host: str, expression: str, **environment: str) -> Any:
    """Work out an expression with the variables of a host."""
    message = json.dumps({"msg": "{{ " + expression + " }}"})
    result = ansible(
        "ansible", "-i", str(inventory), host, "-c", "local", "-m", "debug", "-a", message, "-o", **environment
    )
    assert result.returncode == 0, said(result)
    return json.loads(result.stdout[result.stdout.index("{") :])["msg"]


def test_there_are_the_inventories_that_the_documentation_names() -> None:
    assert INVENTORIES == ["local", "production.example", "single"]


@pytest.mark.parametrize("inventory", INVENTORIES)
def test_what_all_inventories_share_has_one_home(inventory: str) -> None:
    link = ROOT / "inventories" / inventory / "group_vars/all/00-shared"
    assert link.is_symlink()
    assert not link.readlink().is_absolute(), "a checkout may be anywhere"
    assert link.resolve() == ROOT / "inventories/shared"


@pytest.mark.parametrize("inventory", INVENTORIES)
def test_an_inventory_has_all_parts_and_the_playbooks_understand_it(inventory: str) -> None:
    hosts = listed(f"inventories/{inventory}")
    required = settings(ROOT / "roles/preflight/defaults/main.yml")["preflight_required"]
    assert set(required) <= set(hosts), hosts.keys()
    checked = ansible("ansible-playbook", "-i", f"inventories/{inventory}", "--syntax-check", "site.yml")
    assert checked.returncode == 0, said(checked)


@pytest.mark.parametrize("inventory", INVENTORIES)
def test_preflight_has_nothing_against_an_inventory_that_is_filled_in(tmp_path: Path, inventory: str) -> None:
    copy = copied(inventory, tmp_path)
    for path in (copy / "hosts.yml", copy / "group_vars/all/main.yml"):
        path.write_text(path.read_text().replace("vuls.example.org", "vuls.corp.test"))
    fine = ansible("ansible-playbook", "--check", "-i", str(copy), *PREFLIGHT, VULS_STATE_DIR=str(tmp_path / "state"))
    assert fine.returncode == 0, said(fine)
    assert "changed=0" in fine.stdout
    assert not (tmp_path / "state").exists(), "nothing was changed"


def test_a_database_that_somebody_else_runs_needs_no_host_here(tmp_path: Path) -> None:
    copy = copied("production.example", tmp_path)
    hosts = settings(copy / "hosts.yml")
    for group in ("postgresql", "backup"):
        del hosts["all"]["children"]["fleet"]["children"][group]
    (copy / "hosts.yml").write_text(json.dumps(hosts))
    (copy / "group_vars/all/test.yml").write_text(json.dumps({"vuls_public_name": "vuls.corp.test"}))
    line = ("ansible-playbook", "--check", "-i", str(copy), *PREFLIGHT)
    refused = ansible(*line, VULS_STATE_DIR=str(tmp_path / "state"))
    assert "no host is in the group postgresql" in said(refused)
    more = {"vuls_public_name": "vuls.corp.test", "vuls_database_external": "db.corp.test"}
    (copy / "group_vars/all/test.yml").write_text(json.dumps(more | {"vuls_database_ca_file": "/etc/ssl/theirs.crt"}))
    fine = ansible(*line, VULS_STATE_DIR=str(tmp_path / "state"))
    assert fine.returncode == 0, said(fine)
    # The firewall takes no tier that is no group; preflight looks at the server with its own CA.
    flows, tiers, tried = shown(copy, "web-1", "[firewall_flows, firewall_tiers, preflight_flows]")
    assert {tier for flow in flows for tier in [flow["to"], *flow["from"]]} <= {*tiers, "anyone", "operators"}
    (database,) = (flow for flow in tried if flow["service"] == "PostgreSQL")
    assert (database["to"], database["ca_file"]) == (["db.corp.test"], "/etc/ssl/theirs.crt")


def test_all_that_is_wrong_in_an_inventory_comes_at_once(tmp_path: Path) -> None:
    copy = copied("production.example", tmp_path)
    hosts = (
        (copy / "hosts.yml")
        .read_text()
        .replace("            redis-3:\n", "")
        .replace("            web-3:", "            web_3:")
    )
    (copy / "hosts.yml").write_text(hosts)
    faults = {
        "vuls_zones": ["dmz", "office", "lab"],
        "web_instanses": 3,
        "vuls_database_owner": "postgres",
        "vuls_secret_values": {"database_owner": "short", "redis_oprator": SECRET},
    }
    (copy / "group_vars/all/test.yml").write_text(json.dumps(faults))
    refused = ansible(
        "ansible-playbook",
        "-i",
        str(copy),
        "site.yml",
        "-e",
        "preflight_look=false",
        VULS_STATE_DIR=str(tmp_path / "state"),
    )
    assert refused.returncode != 0
    for words in (
        "8 findings; nothing was changed.",
        "2 hosts are in the group redis",
        "'web_3' is no host name",
        "no host of scan_hosts is in zone lab",
        "did you mean web_instances?",
        "vuls_database_owner (of ",
        "vuls_public_name is vuls.example.org, the example's",
        "the secret database_owner in vuls_secret_values is too short",
        "call it redis_operator",
    ):
        assert words in said(refused), words
    assert SECRET not in said(refused)
    assert "Make the secrets" not in refused.stdout, "it stopped before anything else"
    assert not (tmp_path / "state").exists(), "nothing was changed"


def test_a_zone_that_a_group_says_in_hosts_yml_is_found(tmp_path: Path) -> None:
    """It loses to what all inventories share; said in group_vars, or of the host itself, it holds."""
    copy = copied("production.example", tmp_path)
    told = {
        "lost": {"hosts": {"till-1": None, "till-2": {"vuls_zone": "office"}}, "vars": {"vuls_zone": "office"}},
        "held": {"hosts": {"till-3": None}, "vars": {"vuls_zone": "office"}},
        "same": {"hosts": {"till-4": None}, "vars": {"vuls_zone": "{{ vuls_zones | first }}"}},
    }
    scanned = {"all": {"children": {**told, "scan_targets": {"children": dict.fromkeys(told)}}}}
    (copy / "more.yml").write_text(json.dumps(scanned))
    (copy / "group_vars/held.yml").write_text(json.dumps({"vuls_zone": "office"}))
    refused = ansible("ansible-playbook", "-i", str(copy), *PREFLIGHT, VULS_STATE_DIR=str(tmp_path / "state"))
    assert refused.returncode != 0
    assert "vuls_zone of the group lost in hosts.yml is passed over (for till-1)" in said(refused)
    assert "vuls_zone of the group held" not in said(refused)
    assert "vuls_zone of the group same" not in said(refused)


def test_networks_that_the_database_cannot_let_in_are_found(tmp_path: Path) -> None:
    copy = copied("production.example", tmp_path)
    (copy / "group_vars/all/test.yml").write_text(json.dumps({"vuls_database_clients": ["samenet", "10.1.0.7"]}))
    refused = ansible("ansible-playbook", "-i", str(copy), *PREFLIGHT, VULS_STATE_DIR=str(tmp_path / "state"))
    assert refused.returncode != 0
    assert "vuls_database_clients of db-1 names '10.1.0.7', which is an address without a mask" in said(refused)


def test_an_inventory_without_the_link_is_told_where_it_leads(tmp_path: Path) -> None:
    copy = copied("single", tmp_path)
    (copy / "group_vars/all/00-shared").unlink()
    refused = ansible("ansible-playbook", "-i", str(copy), *PREFLIGHT)
    assert refused.returncode != 0
    assert "group_vars/all/00-shared is missing" in said(refused)


def test_a_further_zone_is_one_more_word(tmp_path: Path) -> None:
    """Redis user, database role, passwords and SSH key follow from its name."""
    copy = copied("production.example", tmp_path)
    more = {"vuls_zones": ["default", "lab"], "vuls_state_dir": "/s"}
    (copy / "group_vars/all/test.yml").write_text(json.dumps(more))
    users, roles, files, keys = shown(
        copy,
        "redis-1",
        "[redis_acl_users | selectattr('kind', 'equalto', 'worker') | map(attribute='name'),"
        " postgresql_users | map(attribute='name'), secrets_files, secrets_ssh_keys]",
    )
    assert users == ["worker-default", "worker-lab"]
    assert {"vuls_worker_default", "vuls_worker_lab"} < set(roles)
    assert {"/s/secrets/redis_worker_lab", "/s/secrets/database_worker_lab"} < set(files)
    assert keys == ["/s/secrets/ssh/id_ed25519", "/s/secrets/ssh/id_ed25519_lab"]


def test_a_target_is_in_the_zone_of_its_group(tmp_path: Path) -> None:
    """What a group says in hosts.yml loses to what all inventories share, without a word."""
    copy = copied("production.example", tmp_path)
    hosts = (copy / "hosts.yml").read_text()
    for zone in ("dmz", "office"):
        group = f"        targets_{zone}:\n          hosts: "
        assert group in hosts
        hosts = hosts.replace(f"{group}{{}}", f"{group}{{till-{zone}: }}")
    (copy / "hosts.yml").write_text(hosts)
    told = [shown(copy, f"till-{zone}", "scan_target_zone") for zone in ("dmz", "office")]
    assert told == ["dmz", "office"]


def test_a_scan_host_knows_the_secrets_of_its_zone_only(tmp_path: Path) -> None:
    copy = copied("production.example", tmp_path)
    state = tmp_path / "state"
    (state / "secrets").mkdir(parents=True)
    for name in ("redis_worker_dmz", "redis_worker_office", "database_worker_dmz", "database_worker_office"):
        (state / "secrets" / name).write_text(name)
    expression = "[worker_redis_password, worker_database_password, executor_ssh_key_file | basename]"
    told = {host: shown(copy, host, expression, VULS_STATE_DIR=str(state)) for host in ("scan-dmz-1", "scan-office-1")}
    assert told["scan-dmz-1"] == ["redis_worker_dmz", "database_worker_dmz", "id_ed25519_dmz"]
    assert told["scan-office-1"] == ["redis_worker_office", "database_worker_office", "id_ed25519_office"]


def test_a_secret_of_ansible_vault_takes_the_place_of_a_file(tmp_path: Path) -> None:
    copy = copied("production.example", tmp_path)
    password = tmp_path / "vault-password"
    password.write_text("only here")
    vault = copy / "group_vars/all/vault.yml"
    vault.write_text(json.dumps({"vault_database_owner": SECRET}))
    (copy / "group_vars/all/secrets.yml").write_text(
        json.dumps({"vuls_secret_values": {"database_owner": "{{ vault_database_owner }}"}})
    )
    encrypted = ansible("ansible-vault", "encrypt", "--vault-password-file", str(password), str(vault))
    assert encrypted.returncode == 0, said(encrypted)
    assert SECRET not in vault.read_text()
    value, files = shown(
        copy,
        "db-1",
        "[vuls_secrets.database_owner, secrets_files]",
        VULS_STATE_DIR="/s",
        ANSIBLE_VAULT_PASSWORD_FILE=str(password),
    )
    assert value == SECRET
    assert "/s/secrets/database_owner" not in files
    assert "/s/secrets/database_web" in files


def closed(inventory: str | Path) -> set[str]:
    """Return the hosts that site.yml gives the firewall."""
    done = ansible("ansible-playbook", "-i", str(inventory), "site.yml", "--tags", "firewall", "--list-hosts")
    assert done.returncode == 0, said(done)
    (play,) = (part for part in done.stdout.split("play #") if "Close every host" in part)
    return set(play.split("hosts (", 1)[1].split("\n\n")[0].split()[1:])


@pytest.mark.parametrize("inventory", INVENTORIES)
def test_every_host_that_is_ours_gets_the_firewall(inventory: str) -> None:
    """Hosts that are scanned, and nothing else, do not."""
    groups = shown(ROOT / "inventories" / inventory, "localhost", "[groups['fleet'], groups['scan_targets']]")
    assert closed(f"inventories/{inventory}") == set(groups[0]) - set(groups[1])


def test_a_host_of_ours_that_is_scanned_too_gets_the_firewall_and_the_scan_hosts_in(tmp_path: Path) -> None:
    copy = copied("production.example", tmp_path)
    more = {"web-1": None, "shop-1": None}
    (copy / "more.yml").write_text(json.dumps({"all": {"children": {"targets_dmz": {"hosts": more}}}}))
    assert "web-1" in closed(copy)
    assert "shop-1" not in closed(copy)
    expression = "vuls_flows | selectattr('to', 'in', firewall_own_tiers) | map(attribute='to') | unique"
    assert set(shown(copy, "web-1", expression)) == {"web", "scan_targets"}


BACKUPS = "[postgresql_archive_command, postgresql_restore_command, vuls_backup_members, pgbackrest_repository_host]"


@pytest.mark.parametrize(("inventory", "host"), [("local", "vuls-db"), ("single", "vuls")])
def test_without_the_group_backup_nothing_is_archived(tmp_path: Path, inventory: str, host: str) -> None:
    assert shown(copied(inventory, tmp_path), host, BACKUPS) == ["", "", [], ""]


def test_backups_are_made_by_the_host_of_the_group_backup(tmp_path: Path) -> None:
    archive, back, members, repository = shown(copied("production.example", tmp_path), "db-2", BACKUPS)
    assert archive == "pgbackrest --stanza=vuls archive-push %p"
    assert back == 'pgbackrest --stanza=vuls archive-get %f "%p"'
    assert (members, repository) == (["db-1", "db-2", "backup-1"], "backup-1")


def test_the_only_host_of_a_database_may_keep_the_backups_itself(tmp_path: Path) -> None:
    """Nobody calls it then, so it has no repository host and no certificate for backups."""
    copy = copied("single", tmp_path)
    hosts = (copy / "hosts.yml").read_text()
    (copy / "hosts.yml").write_text(hosts.replace("    redis: {", "    backup: {children: {one_host: }}\n    redis: {"))
    archive, _, members, repository = shown(copy, "vuls", BACKUPS)
    assert archive
    assert (members, repository) == ([], "")


def test_nothing_of_ours_connects_to_a_host_of_the_database_that_was_closed_off(tmp_path: Path) -> None:
    copy = copied("production.example", tmp_path)
    state = tmp_path / "state"
    (state / "database-closed-off").mkdir(parents=True)
    expression = "[web_database_host, scheduler_database_host]"
    assert shown(copy, "web-1", expression, VULS_STATE_DIR=str(state)) == ["db-1,db-2"] * 2
    for name in ("db-1", "somebody-else"):
        (state / "database-closed-off" / name).touch()
    assert shown(copy, "web-1", expression, VULS_STATE_DIR=str(state)) == ["db-2"] * 2


def test_certificates_of_backups_are_of_a_ca_of_their_own(tmp_path: Path) -> None:
    """As site.yml and restore.yml make them: no other service takes one for its own."""
    copy, state = copied("production.example", tmp_path), tmp_path / "state"
    one = ("-e", json.dumps({"pki_leaves": [{"name": "db-1"}]}))
    made = ansible("ansible-playbook", "-i", str(copy), "playbooks/certificates.yml", *one, VULS_STATE_DIR=str(state))
    assert made.returncode == 0, said(made)
    issuers = {}
    for folder in ("pki", "pki-backup"):
        ca, leaf = (x509.load_pem_x509_certificate((state / folder / f"{n}.crt").read_bytes()) for n in ("ca", "db-1"))
        leaf.verify_directly_issued_by(ca)
        issuers[folder] = leaf.issuer.rfc4514_string()
    assert issuers["pki-backup"] == "CN=Vuls Live backup CA"
    assert issuers["pki"] != issuers["pki-backup"]
