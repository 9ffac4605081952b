"""Looks at a host without changing anything: what it is, what it has room for, whom it knows and whom it reaches.

One call, so that a host costs one round trip. Runs on Python 3.8 and newer, to be able to say that a Python is too old.
"""

import hashlib
import os
import platform
import re
import socket
import ssl
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: preflight_look
short_description: Look at a host without changing anything
description: Tells system, disk, memory, clock, names, listeners and which connections are possible.
options:
  paths:
    description: Directories whose free space is told; of one that is missing, the nearest above it.
    type: list
    elements: path
    default: []
  names:
    description: Names that are looked up.
    type: list
    elements: str
    default: []
  connections:
    description: >-
      What is connected to, each with C(host), C(port), C(tls) (direct, postgresql or empty), C(name), the name that
      the certificate has to carry, and C(ca_file), where that is of another CA.
    type: list
    elements: dict
    default: []
  ca_file:
    description: CA that certificates are checked against, on the host.
    type: path
    required: true
  certificate_dirs:
    description: >-
      Directories on the host whose certificates (C(*.crt)) are looked at, but ca.crt. One that is missing, or a file
      that cannot be read or is no certificate, counts for nothing.
    type: list
    elements: path
    default: []
  lock_file:
    description: What a rollout that is not done leaves on the host. Empty for none.
    type: str
    default: ""
  timeout:
    description: Seconds for each connection.
    type: float
    default: 3.0
author: Vuls Live (@vuls-live)
"""
EXAMPLES = """
- name: Look at the host
  preflight_look:
    names: [db-1]
    connections: [{host: db-1, port: 5432, tls: postgresql, name: db-1}]
    ca_file: /etc/vuls/pki/ca.crt
    certificate_dirs: [/etc/vuls/pki]
"""
RETURN = """
look:
  description: What was seen.
  returned: always
  type: dict
  contains:
    leaves:
      description: When each certificate of I(certificate_dirs) ends, in seconds since the epoch, by its path.
      returned: always
      type: dict
"""

# PostgreSQL speaks TLS after this request: its length and its number.
POSTGRESQL_TLS = struct.pack("!ii", 8, 80877103)
MIB = 1024 * 1024


def text(path: str) -> str:
    """Return a file's content, empty where it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def system() -> dict[str, str]:
    """Return what /etc/os-release says."""
    return dict(re.findall(r'^([A-Z_]+)="?([^"\n]*)"?$', text("/etc/os-release"), re.MULTILINE))


def memory_mib() -> int:
    """Return the memory that the host has, or may have where its control group limits it."""
    found = re.search(r"^MemTotal:\s+(\d+) kB", text("/proc/meminfo"), re.MULTILINE)
    total = int(found.group(1)) // 1024 if found else 0
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes", *own_limits()):
        limit = text(path).strip()
        if limit.isdigit() and int(limit) // MIB > 0:
            total = min(total, int(limit) // MIB)
    return total


def own_limits() -> list[str]:
    """Return where the limit of the first process's control group stands, in hosts that see the tree of the machine."""
    paths = []
    for line in text("/proc/1/cgroup").splitlines():
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        # systemd keeps itself in init.scope below the group that is limited.
        above = re.sub(r"/init\.scope$", "", path)
        if number == "0":
            paths.append("/sys/fs/cgroup" + above + "/memory.max")
        elif "memory" in controllers.split(","):
            paths.append("/sys/fs/cgroup/memory" + above + "/memory.limit_in_bytes")
    return paths


def room(path: str) -> dict[str, Any]:
    """Return what is free where a directory is or will be: MiB, and files (None where the file system has no limit)."""
    there = Path(path)
    while not there.exists():
        there = there.parent
    state = os.statvfs(there)
    return {
        "path": path,
        "device": there.stat().st_dev,
        "free_mib": state.f_bavail * state.f_frsize // MIB,
        "free_files": state.f_favail if state.f_files else None,
    }


def addresses(name: str) -> list[str]:
    """Return the addresses of a name, none where it does not resolve."""
    try:
        return sorted({str(entry[4][0]) for entry in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)})
    except OSError:
        return []


def listeners() -> list[dict[str, Any]]:
    """Return the TCP ports that something listens on, each with whether it does so for other hosts."""
    found: dict[int, bool] = {}
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in text(path).splitlines()[1:]:
            fields = line.split()
            if len(fields) > 3 and fields[3] == "0A":
                address, port = fields[1].split(":")
                # 127.0.0.0/8 and ::1, as the kernel writes them.
                loopback = address.endswith("7F") if len(address) == 8 else address == "0" * 24 + "01000000"
                found[int(port, 16)] = found.get(int(port, 16), False) or not loopback
    return [{"port": port, "others": others} for port, others in sorted(found.items())]


def trouble(error: Exception) -> str:
    """Return one word for what a connection ended with."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return {10: "expired", 9: "not_yet_valid", 62: "wrong_name", 64: "wrong_name"}.get(
            error.verify_code, "wrong_ca"
        )
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, socket.timeout):
        return "timeout"
    if isinstance(error, socket.gaierror):
        return "unknown_name"
    if isinstance(error, ssl.SSLError):
        return "no_tls"
    return "unreachable"


def certificate(plain: socket.socket, tls: str, name: str, trust: ssl.SSLContext) -> dict[str, Any]:
    """Shake hands and return when the certificate ends (seconds since the epoch)."""
    if tls == "postgresql":
        plain.sendall(POSTGRESQL_TLS)
        if plain.recv(1) != b"S":
            raise ssl.SSLError("the server has no TLS")
    with trust.wrap_socket(plain, server_hostname=name) as shaken:
        ends = (shaken.getpeercert() or {}).get("notAfter", "")
        return {"ends": ssl.cert_time_to_seconds(str(ends)) if ends else 0}


def connect(wanted: dict[str, Any], trust: ssl.SSLContext | None, timeout: float) -> dict[str, Any]:
    """Try one connection; the answer has what was wanted and how it ended, `open` where it is as it should be."""
    tried = {"host": wanted["host"], "port": int(wanted["port"]), "said": ""}
    try:
        with socket.create_connection((wanted["host"], int(wanted["port"])), timeout=timeout) as plain:
            tried["result"] = "open"
            if wanted.get("tls") and trust is not None:
                tried.update(certificate(plain, wanted["tls"], wanted.get("name") or wanted["host"], trust))
    except Exception as error:  # noqa: BLE001  (whatever it is, it is what there is to tell)
        tried.update(result=trouble(error), said=str(error))
    return tried


def trust_in(ca_file: str, *, is_ours: bool = True) -> ssl.SSLContext | None:
    """Return a context that trusts that CA alone; None where the host does not have it yet."""
    if not Path(ca_file).exists():
        return None
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError):
        return None
    if not is_ours:
        # libpq takes what newer Pythons find fault with in the CAs of others.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def leaves(directories: list[str]) -> dict[str, int]:
    """Return when the certificates of directories end (seconds since the epoch), by path, but for that of a CA."""
    ends = {}
    for path in sorted(found for place in directories for found in Path(place).glob("*.crt")):
        if path.name == "ca.crt":
            continue
        try:
            # Python without packages reads a certificate that nobody shows by no other way.
            read = ssl._ssl._test_decode_cert(str(path))  # noqa: SLF001
            ends[str(path)] = int(ssl.cert_time_to_seconds(read["notAfter"]))
        except (AttributeError, KeyError, OSError, ValueError):
            continue
    return ends


def look(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return everything."""
    clock, began = time.time(), time.monotonic()
    ca = text(parameters["ca_file"])
    connections = [(wanted, wanted.get("ca_file") or parameters["ca_file"]) for wanted in parameters["connections"]]
    own = parameters["ca_file"]
    trust = {path: trust_in(path, is_ours=path == own) for path in {path for _, path in connections}}
    with ThreadPoolExecutor(max_workers=32) as pool:
        tried = [pool.submit(connect, wanted, trust[path], parameters["timeout"]) for wanted, path in connections]
        known = {name: pool.submit(addresses, name) for name in parameters["names"]}
        seen = {
            "clock": clock,
            "system": system(),
            "python": platform.python_version(),
            "memory_mib": memory_mib(),
            "room": [room(path) for path in parameters["paths"]],
            "postgresql": sorted(place.name for place in Path("/etc/postgresql").glob("*")),
            "root": os.geteuid() == 0,
            "ca": hashlib.sha256(ca.strip().encode()).hexdigest() if ca else "",
            "leaves": leaves(parameters["certificate_dirs"]),
            "listeners": listeners(),
            "lock": text(parameters["lock_file"]) if parameters["lock_file"] else "",
            "names": {name: found.result() for name, found in known.items()},
            "connections": [answer.result() for answer in tried],
        }
    return {**seen, "spent": time.monotonic() - began}


def main() -> None:
    """Run as a module of Ansible."""
    module = AnsibleModule(
        argument_spec={
            "paths": {"type": "list", "elements": "path", "default": []},
            "names": {"type": "list", "elements": "str", "default": []},
            "connections": {"type": "list", "elements": "dict", "default": []},
            "ca_file": {"type": "path", "required": True},
            "certificate_dirs": {"type": "list", "elements": "path", "default": []},
            "lock_file": {"type": "str", "default": ""},
            "timeout": {"type": "float", "default": 3.0},
        },
        supports_check_mode=True,
    )
    module.exit_json(changed=False, look=look(module.params))


if __name__ == "__main__":
    main()
