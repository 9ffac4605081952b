"""The operators' page shows the table of flows that the firewall applies."""

import json
import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/operations/firewall.md"


def table() -> list[dict[str, list[str] | str]]:
    """Return the flows of the local inventory, with every variable in them worked out."""
    line = [str(ROOT / ".venv/bin/ansible"), "-i", "inventories/local", "localhost", "-m", "ansible.builtin.debug"]
    environment = os.environ | {
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
    }
    line += ["-a", "var=vuls_flows"]
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=120)
    found: list[dict[str, list[str] | str]] = json.loads(done.stdout[done.stdout.index("{") :])["vuls_flows"]
    return found


def test_the_page_shows_the_table_of_flows() -> None:
    shown = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", PAGE.read_text(), re.MULTILINE)
    flows = [
        (", ".join(flow["from"]), flow["to"], ", ".join(str(port) for port in flow.get("ports", [])), flow["why"])
        for flow in table()
    ]
    assert shown[1:] == flows
