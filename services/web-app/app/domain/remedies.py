"""The commands that the sentences of failed runs end with. `INVENTORY` stands for the deployment's own, as in the docs.

Those of `vulsctl` are for a web host.
"""

DEPLOY_ALL = "`ansible-playbook -i INVENTORY site.yml`"
DEPLOY_VULS = "`ansible-playbook -i INVENTORY site.yml --tags vuls`"
DEPLOY_EXECUTOR = "`ansible-playbook -i INVENTORY site.yml --tags secrets,executor`"


def refresh_target(host: str) -> str:
    """Give a host its user and key, and the scan hosts its address and host key. Its name in scans may be another."""
    limit = f"--limit '{host},scan_hosts,web'"
    return f"`ansible-playbook -i INVENTORY playbooks/scan_hosts.yml {limit}` ({host} as the inventory calls it)"


def remove_target(host: str) -> str:
    """Have a host scanned no more."""
    return f"`ansible-playbook -i INVENTORY playbooks/scan_hosts.yml -e scan_hosts_remove={host}`"


def check(host: str) -> str:
    """Try whether a host can be scanned."""
    return f"`vulsctl run check {host}` on a web host"


def reassess(host: str) -> str:
    """Match the packages of the last scan again."""
    return f"`vulsctl run reassess {host}` on a web host"


def log_of(run_id: int | None) -> str:
    """Show what the programs of a run said."""
    return "The log of the run" if run_id is None else f"`vulsctl run log {run_id}` on a web host"
