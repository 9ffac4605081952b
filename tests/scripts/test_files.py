"""What the role files finds to write: what is missing or different, and nothing else."""

import hashlib
from typing import Any

import pytest

from .rules import plugin

FILES = plugin("files", "filter_plugins", "files")
DIRECTORY = {"path": "/etc/vuls/web", "mode": "0750", "group": "vuls-web"}
FILE = {"path": "/etc/vuls/web/settings.env", "mode": "0640", "group": "vuls-web", "content": "NAME='Grün'\n"}
WANTED = [DIRECTORY, FILE]


def seen(**changes: Any) -> list[dict[str, Any]]:
    """Return what `find` says of a host where both are as wanted, with changes to the file."""
    common = {"pw_name": "root", "gr_name": "vuls-web"}
    digest = hashlib.sha256("NAME='Grün'\n".encode()).hexdigest()
    return [
        {"path": "/etc/vuls/web", "mode": "0750", "isdir": True, **common},
        {"path": "/etc/vuls/web/settings.env", "mode": "0640", "isdir": False, "checksum": digest, **common, **changes},
    ]


def test_nothing_is_to_do_where_all_is_as_wanted() -> None:
    assert FILES.differing(WANTED, seen()) == []


def test_all_is_to_do_on_a_bare_host_with_root_as_owner() -> None:
    assert FILES.differing(WANTED, []) == [{"owner": "root", **entry} for entry in WANTED]


@pytest.mark.parametrize(
    "change",
    [
        {"mode": "0644"},
        {"pw_name": "www-data"},
        {"gr_name": "root"},
        {"checksum": "0" * 64},
        {"isdir": True, "checksum": None},
        {"isdir": False, "checksum": None},  # a link or a socket
        {"path": "/etc/vuls/web/settings"},
    ],
    ids=["mode", "owner", "group", "content", "a directory", "no file", "missing"],
)
def test_a_file_that_is_otherwise_is_to_do(change: dict[str, Any]) -> None:
    assert [entry["path"] for entry in FILES.differing(WANTED, seen(**change))] == [FILE["path"]]


def test_a_file_in_the_place_of_a_directory_is_to_do() -> None:
    found = [{**seen()[0], "isdir": False, "checksum": "0" * 64}, seen()[1]]
    assert [entry["path"] for entry in FILES.differing(WANTED, found)] == [DIRECTORY["path"]]


def test_one_look_sees_every_path() -> None:
    assert FILES.look_at(WANTED) == {"paths": ["/etc/vuls", "/etc/vuls/web"], "patterns": ["settings.env", "web"]}
