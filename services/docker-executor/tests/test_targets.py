import json
from pathlib import Path
from typing import Any

import pytest

from executor.targets import Target, TargetsUnreadable, load


def write(path: Path, server: str = "web-1", **target: Any) -> Path:
    path.write_text(json.dumps({"targets": {server: {"address": "192.0.2.1", **target}}}))
    return path


@pytest.mark.parametrize("address", ["192.0.2.1", "web-1.example.org", "2001:db8::1", "a"])
def test_hosts_are_read_by_name_or_address(tmp_path: Path, address: str) -> None:
    found = load(write(tmp_path / "targets.json", address=address, port=2222, user="scan"))
    assert found == {"web-1": Target(address=address, port=2222, user="scan")}


@pytest.mark.parametrize("server", ["a", "_", "9", "_web", "web-", "web--1", "a" * 63])
def test_a_server_is_called_anything_that_vuls_takes_for_a_name(tmp_path: Path, server: str) -> None:
    assert set(load(write(tmp_path / "targets.json", server=server))) == {server}


@pytest.mark.parametrize(
    "target",
    [
        {"address": "-oProxyCommand=sh"},
        {"address": 'x"\nhost = "y'},
        {"address": "a b"},
        {"address": ""},
        {"port": 0},
        {"port": 70000},
        {"user": "-l root"},
        {"user": "Root"},
        {"server": "../../etc"},
        {"server": 'a"]\n[vuls2'},
        {"server": "web-1\n"},
        {"server": ""},
        {"server": "-"},
        {"server": "-debug"},
        {"server": "a" * 64},
        {"surprise": 1},
    ],
)
def test_a_file_with_a_hostile_entry_is_refused_whole(tmp_path: Path, target: dict[str, Any]) -> None:
    with pytest.raises(TargetsUnreadable):
        load(write(tmp_path / "targets.json", **target))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"targets": []}', "{}", '{"targets": {}, "more": 1}'])
def test_a_broken_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "targets.json"
    path.write_text(content)
    with pytest.raises(TargetsUnreadable, match=r"targets\.json"):
        load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TargetsUnreadable, match="No such file"):
        load(tmp_path / "targets.json")
