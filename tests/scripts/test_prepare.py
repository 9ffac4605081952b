"""What is installed on the controller: no Docker engine where it deploys to other machines."""

import os
import subprocess
from pathlib import Path

import pytest

from .ansible import ROOT

PREPARE = ROOT / "scripts/prepare.sh"
ENGINE = {"docker", "dockerd", "iptables", "mmdebstrap"}


def bare(place: Path, *without: str) -> str:
    """Return a PATH without these programs, on which apt-get writes down what it is asked for and installs nothing."""
    for folder in os.environ["PATH"].split(":"):
        for program in Path(folder).glob("*"):
            link = place / program.name
            if program.name not in without and not link.is_symlink():
                link.symlink_to(program)
    (place / "apt-get").unlink()
    (place / "apt-get").write_text(f'#!/bin/sh\necho "$@" >>{place}/../asked\n[ "$1" = update ]\n')
    (place / "apt-get").chmod(0o755)
    return str(place)


def prepare(tmp_path: Path, *arguments: str, without: set[str]) -> tuple[int, list[str], str]:
    """Run the script on a machine that lacks programs; returns exit status, packages asked for, and output."""
    (tmp_path / "bin").mkdir()
    result = subprocess.run(
        [str(PREPARE), *arguments],
        env=os.environ | {"PATH": bare(tmp_path / "bin", *without)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    asked = tmp_path / "asked"
    lines = asked.read_text().splitlines() if asked.exists() else []
    packages = [word for line in lines if line.startswith("install") for word in line.split()[1:]]
    return result.returncode, [word for word in packages if word[0] != "-"], result.stdout + result.stderr


def test_a_controller_of_other_machines_gets_no_engine(tmp_path: Path) -> None:
    status, packages, output = prepare(tmp_path, "--controller", without=ENGINE | {"curl"})
    assert status == 0, output
    assert packages == []
    assert "the controller is prepared" in output


def test_it_gets_what_reaches_them(tmp_path: Path) -> None:
    status, packages, output = prepare(tmp_path, "--controller", without=ENGINE | {"ssh"})
    assert packages == ["openssh-client"]
    assert status == 1, "apt-get installs nothing here"
    assert "apt could not install openssh-client" in output


@pytest.mark.parametrize("arguments", [(), ("--tests",)], ids=["local stack", "tests"])
def test_the_local_stack_and_the_tests_get_an_engine(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    _, packages, output = prepare(tmp_path, *arguments, without=ENGINE)
    assert {"mmdebstrap", "docker.io", "iptables"} <= set(packages), output


def test_a_word_that_it_does_not_know_is_refused(tmp_path: Path) -> None:
    status, packages, output = prepare(tmp_path, "--controler", without=ENGINE)
    assert (status, packages) == (2, [])
    assert "usage: prepare.sh [--controller | --tests]" in output
