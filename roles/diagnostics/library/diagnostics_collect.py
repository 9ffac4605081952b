"""Reads what helps to find a fault of a host, and changes nothing there.

One call, so that a host costs one round trip. What it returns is as the host has it, secrets included: it is for
`diagnostics_bundle`, which masks them, and for nobody else.
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: diagnostics_collect
short_description: Read what helps to find a fault
description: Runs commands, reads files, and reads the journals of units. Changes nothing.
options:
  commands:
    description: >-
      Each with C(file) (where its output goes, after that of others), C(argv), and C(path), without which on the host
      it is left out.
    type: list
    elements: dict
    default: []
  files:
    description: Patterns of text files that are read.
    type: list
    elements: str
    default: []
  certificates:
    description: Patterns of certificates whose names and dates are told.
    type: list
    elements: str
    default: []
  units:
    description: Patterns of units whose state and journal are read.
    type: list
    elements: str
    default: []
  journal_lines:
    description: Lines of the journal of each unit.
    type: int
    default: 500
  environment:
    description: Environment of the commands, a password for one of them perhaps.
    type: dict
    default: {}
  timeout:
    description: Seconds for each command.
    type: int
    default: 20
author: Vuls Live (@vuls-live)
"""
EXAMPLES = """
- name: Collect
  diagnostics_collect:
    commands: [{file: versions.txt, argv: [uname, -a]}]
    files: [/etc/vuls/*/settings.env]
    units: [vuls-*]
"""
RETURN = """
collected:
  description: Texts by name.
  returned: always
  type: dict
"""

LIMIT = 512 * 1024  # characters of a text: its end counts, where it is longer


class Collector:
    """Gathers texts by name. A command that fails is an answer too."""

    def __init__(self, module: AnsibleModule) -> None:
        self.texts: dict[str, str] = {}
        self._module = module
        values = {name: str(value) for name, value in module.params["environment"].items()}
        self._environment = {**values, "LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0", "PAGER": "cat"}

    def add(self, name: str, text: str) -> None:
        """Write a text behind what there is of that name."""
        self.texts[name] = (self.texts.get(name, "") + text)[-LIMIT:]

    def output(self, argv: list[str]) -> str:
        """Return what a command prints, on both of its outputs, and how it ended if not well."""
        limited = ["timeout", str(self._module.params["timeout"]), *argv]
        status, printed, errors = self._module.run_command(limited, data="", environ_update=self._environment)
        ended = {0: "", 124: "(no answer in time)\n"}.get(status, f"(ended with {status})\n")
        return f"{printed}{errors}{ended}"

    def command(self, name: str, argv: list[str]) -> None:
        """Add what a command prints below the command itself."""
        self.add(name, f"$ {' '.join(argv)}\n{self.output(argv)}\n")

    def file(self, path: Path) -> None:
        """Add a text file."""
        try:
            self.add(f"files{path}", path.read_text(encoding="utf-8", errors="replace"))
        except OSError as error:
            self.add(f"files{path}", f"(cannot be read: {error.strerror})\n")

    def unit(self, name: str, lines: int) -> None:
        """Add the end of a unit's journal."""
        argv = ["journalctl", "--no-pager", "--output=short-iso-precise", f"--lines={lines}", f"--unit={name}"]
        self.command(f"journal/{name}.txt", argv)


def matches(patterns: list[str]) -> list[Path]:
    """Return the files that match absolute patterns, each once, in a fixed order."""
    return sorted({path for pattern in patterns for path in Path("/").glob(pattern.lstrip("/")) if path.is_file()})


def main() -> None:
    """Collect what was asked for."""
    module = AnsibleModule(
        argument_spec={
            "commands": {"type": "list", "elements": "dict", "default": []},
            "files": {"type": "list", "elements": "str", "default": []},
            "certificates": {"type": "list", "elements": "str", "default": []},
            "units": {"type": "list", "elements": "str", "default": []},
            "journal_lines": {"type": "int", "default": 500},
            "environment": {"type": "dict", "default": {}, "no_log": True},
            "timeout": {"type": "int", "default": 20},
        },
        supports_check_mode=True,
    )
    given = module.params
    collector = Collector(module)
    for one in given["commands"]:
        if not one.get("path") or Path(one["path"]).exists():
            collector.command(one["file"], [str(word) for word in one["argv"]])
    for path in matches(given["files"]):
        collector.file(path)
    for path in matches(given["certificates"]):
        argv = ["openssl", "x509", "-in", str(path), "-noout", "-subject", "-issuer", "-startdate", "-enddate"]
        collector.command("certificates.txt", argv)
    if given["units"]:
        listing = ["systemctl", "list-units", "--all", "--full", "--plain", "--no-legend", "--no-pager"]
        collector.command("units.txt", [*listing, *given["units"]])
        collector.command("units.txt", ["systemctl", "--failed", "--full", "--plain", "--no-pager"])
        for line in collector.output([*listing, *given["units"]]).splitlines():
            name = line.split()[0] if line.split() else ""
            if name.endswith((".service", ".timer")):
                collector.unit(name, given["journal_lines"])
    module.exit_json(changed=False, collected=collector.texts)


if __name__ == "__main__":
    main()
