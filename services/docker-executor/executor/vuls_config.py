"""The files and arguments that Vuls runs with. Paths are those inside the container."""

import json
from typing import Final

from executor.jobs import ScanType
from executor.targets import Target

CONFIG_DIR: Final = "/etc/vuls"
JOB_DIR: Final = "/job"
HOME: Final = "/home/vuls"
NOBODY_GID: Final = 65534
DETECTION_SECONDS: Final = 300
CHECK_SECONDS: Final = 120
"""What a check takes at most, as somebody waits for it."""

_quote = json.dumps  # a JSON string is a TOML basic string


def config_toml(server: str, target: Target, scan_type: ScanType, database: str, *, with_key: bool) -> str:
    """Return config.toml for one server; `database` is the file name under /db.

    SkipUpdate keeps the report off the network; the key is named for the scan only, as the report has none.
    """
    lines = [
        'version = "v2"',
        "[vuls2]",
        f"Path = {_quote('/db/' + database)}",
        "SkipUpdate = true",
        "[default]",
        f"scanMode = [{_quote(scan_type)}]",
        'scanModules = ["ospkg"]',
        f"[servers.{server}]",
        f"host = {_quote(target.address)}",
        f"port = {_quote(str(target.port))}",
        f"user = {_quote(target.user)}",
    ]
    if with_key:
        lines += [f"sshConfigPath = {_quote(CONFIG_DIR + '/ssh_config')}", f"keyPath = {_quote(CONFIG_DIR + '/id')}"]
    return "\n".join(lines) + "\n"


def ssh_config(target: Target) -> str:
    """Return ssh_config: an unknown host key is an error, and nothing of the image's own is read."""
    return f"""Host *
  User {target.user}
  IdentityFile {CONFIG_DIR}/id
  IdentitiesOnly yes
  UserKnownHostsFile {CONFIG_DIR}/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  UpdateHostKeys no
  ConnectTimeout 10
  ServerAliveInterval 15
  ServerAliveCountMax 4
  BatchMode yes
"""


def passwd(uid: int) -> str:
    """Return /etc/passwd: ssh refuses a user id without a line in it."""
    return f"root:x:0:0:root:/nonexistent:/usr/sbin/nologin\nvuls:x:{uid}:{NOBODY_GID}:Vuls:{HOME}:/usr/sbin/nologin\n"


def scan_command(server: str, limit: int) -> list[str]:
    """Return the arguments of the scan; Vuls's own limits come before the executor's, as it can say more."""
    scan_limit = max(1, limit * 9 // 10)
    return [
        "scan",
        f"-config={CONFIG_DIR}/config.toml",
        f"-results-dir={JOB_DIR}",
        "-log-dir=/tmp",
        f"-timeout={min(DETECTION_SECONDS, scan_limit)}",
        f"-timeout-scan={scan_limit}",
        server,
    ]


def check_command(server: str, limit: int) -> list[str]:
    """Return the arguments of the check."""
    return [
        "configtest",
        f"-config={CONFIG_DIR}/config.toml",
        "-log-dir=/tmp",
        f"-timeout={max(1, limit * 9 // 10)}",
        server,
    ]


def report_command() -> list[str]:
    """Return the arguments of the report."""
    return ["report", f"-config={CONFIG_DIR}/config.toml", f"-results-dir={JOB_DIR}", "-log-dir=/tmp", "-format-json"]
