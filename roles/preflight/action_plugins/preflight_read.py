"""Reads what the inventory says of each host, and what the controller runs, without touching a host."""

import importlib.util
import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.plugins.action import ActionBase
from ansible.release import __version__ as ansible_version

# What is read of each host, by the name that the answer has for it.
READ = {
    "address": "ansible_host",
    "port": "ansible_port",
    "zone": "worker_zone",
    "target_zone": "scan_target_zone",
    "target_name": "scan_target_name",
    "target_id": "scan_target_id",
    "database_clients": "vuls_database_clients",
}


def options(path: Path) -> set[str]:
    """Return the names of the variables that a role takes."""
    specs = yaml.safe_load(path.read_text())["argument_specs"]
    return {name for spec in specs.values() for name in spec.get("options", {})}


def keys(path: Path) -> set[str]:
    """Return the names of the variables that a file sets."""
    return set(yaml.safe_load(path.read_text()) or {})


def collection(name: str) -> str:
    """Return the version of an installed collection, empty where it is missing."""
    try:
        spec = importlib.util.find_spec(f"ansible_collections.{name}")
    except ModuleNotFoundError:
        return ""
    for place in (spec and spec.submodule_search_locations) or []:
        manifest = Path(place) / "MANIFEST.json"
        if manifest.is_file():
            return str(json.loads(manifest.read_text())["collection_info"]["version"])
    return ""


class ActionModule(ActionBase):
    """Takes `roles_dir`, `wiring_dir`, `hosts` (whose values are read) and `collections` (names); see `run`."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return `hosts` (by name: `variables` that are set, values of READ), `known`, `roles`, `controller`.

        And `passed_over`: what hosts.yml says for a group and what all inventories share takes the place of.
        """
        result: dict[str, Any] = super().run(tmp, task_vars)
        asked = self._task.args
        roles = {
            path.parent.parent.name: options(path)
            for path in Path(asked["roles_dir"]).glob("*/meta/argument_specs.yml")
        }
        wiring = set().union(*(keys(path) for path in Path(asked["wiring_dir"]).glob("*.yml")))
        hostvars = (task_vars or {})["hostvars"]
        return {
            **result,
            "changed": False,
            "roles": sorted(roles),
            "known": sorted(wiring.union(*roles.values())),
            "hosts": {name: self._host(hostvars[name]) for name in asked["hosts"]},
            "passed_over": self._passed_over(
                (task_vars or {})["ansible_inventory_sources"], wiring, asked["hosts"], hostvars
            ),
            "controller": {
                "ansible": ansible_version,
                "python": platform.python_version(),
                "collections": {name: collection(name) for name in self._names(asked["collections"])},
            },
        }

    def _passed_over(
        self, sources: Sequence[str], wiring: set[str], hosts: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """Return `name`, `group` and `hosts` of values that lose to group_vars/all, where they are other ones.

        The inventory is read once more: of the variables of a host nobody can tell any more where they are from.
        """
        inventory = InventoryManager(loader=self._loader, sources=list(sources))
        found = []
        for group in inventory.groups.values():
            for name in sorted(wiring & set(group.vars)):
                lost = []
                for host in group.get_hosts():
                    # What a host says of itself wins over both.
                    if host.name not in hosts or name in host.vars:
                        continue
                    try:
                        differs = hostvars[host.name].get(name) != self._templar.template(group.vars[name])
                    except AnsibleError:
                        differs = True
                    if differs:
                        lost.append(host.name)
                if lost:
                    found.append({"name": name, "group": group.name, "hosts": lost})
        return found

    def _host(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Return one host's part: a value that cannot be worked out is told in `broken`."""
        said: dict[str, Any] = {"variables": sorted(variables), "broken": {}}
        for key, name in READ.items():
            if name not in variables:
                continue
            try:
                said[key] = variables[name]
            except AnsibleError as error:
                said["broken"][name] = str(error)
        return said

    @staticmethod
    def _names(collections: Iterable[Any]) -> list[str]:
        return [str(name) for name in collections]
