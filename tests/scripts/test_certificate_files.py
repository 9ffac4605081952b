"""A certificate of the operator's own is looked at on the controller, before a balancer has it."""

import datetime as dt
import json
import os
import subprocess
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from .ansible import ROOT, ansible, said
from .rules import plugin

PAIR = plugin("nginx", "filter_plugins", "nginx_pair").nginx_pair


def key_of(private: ec.EllipticCurvePrivateKey, passphrase: bytes = b"") -> str:
    """Return a key as PEM."""
    locked = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    return private.private_bytes(serialization.Encoding.PEM, form, locked).decode()


def pair(*names: str, days: int = 30) -> tuple[str, str]:
    """Make a certificate for these names and addresses, and its key."""
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=400))
        .not_valid_after(now + dt.timedelta(days=days))
    )
    if names:
        held: list[x509.GeneralName] = [
            x509.IPAddress(ip_address(name)) if name[0].isdigit() else x509.DNSName(name) for name in names
        ]
        builder = builder.add_extension(x509.SubjectAlternativeName(held), critical=not subject)
    made = builder.sign(private, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode(), key_of(private)


@pytest.mark.parametrize(
    ("held", "asked"),
    [
        (["vuls.test"], "vuls.test"),
        (["vuls.test"], "Vuls.TEST"),
        (["other.test", "*.vuls.test"], "www.vuls.test"),
        (["192.0.2.7"], "192.0.2.7"),
    ],
)
def test_a_pair_that_browsers_take_is_not_refused(held: list[str], asked: str) -> None:
    certificate, key = pair(*held)
    chain, _ = pair("ca.test")
    assert PAIR(certificate + chain, key, [asked]) == []


@pytest.mark.parametrize(
    ("held", "asked"),
    [
        (["other.test"], "vuls.test"),
        (["*.vuls.test"], "vuls.test"),
        (["*.vuls.test"], "a.b.vuls.test"),
        (["192.0.2.8"], "192.0.2.7"),
        ([], "vuls.test"),
    ],
)
def test_a_certificate_without_the_name_is_refused(held: list[str], asked: str) -> None:
    assert PAIR(*pair(*held), [asked]) == [f"the certificate does not have the name {asked}"]


def test_what_is_wrong_is_told_at_once_and_without_the_key() -> None:
    certificate, key = pair("vuls.test", days=-3)
    _, other = pair("vuls.test")
    wrong = PAIR(certificate, other, ["vuls.test"])
    assert [one.split(" on ")[0] for one in wrong] == [
        "the key is not that of the certificate, or the chain stands before the certificate",
        "the certificate ended",
    ]
    assert "passphrase" in PAIR(certificate, key_of(ec.generate_private_key(ec.SECP256R1()), b"word"), [])[0]
    assert PAIR(key, "-----BEGIN PRIVATE KEY-----\nsecret\n", []) == [
        "the first file holds no certificate in PEM",
        "the second file holds no key in PEM",
    ]


def deploy(place: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run what puts the certificate on a balancer, which is this machine."""
    tasks = [{"include_role": {"name": "nginx", "tasks_from": "certificate", "rolespec_validate": False}}]
    given = {
        "vuls_no_log": True,
        "nginx_certificate_source": "files",
        "nginx_certificate_file": str(place / "own.crt"),
        "nginx_certificate_key_file": str(place / "own.key"),
        "nginx_certificate_names": ["vuls.test"],
        "nginx_certificate_dir": str(place / "edge"),
    }
    # There is no nginx here that could be told.
    told = [{"name": "Apply the configuration", "debug": {"msg": "told"}}]
    play = {"hosts": "localhost", "gather_facts": False, "vars": given, "tasks": tasks, "handlers": told}
    (place / "play.yml").write_text(json.dumps([play]))
    line = ["ansible-playbook", *flags, "-i", "localhost,", "-c", "local", str(place / "play.yml")]
    return ansible(*line, ANSIBLE_ROLES_PATH=str(ROOT / "roles"), HOME=os.environ.get("HOME", "/root"))


@pytest.mark.parametrize("flags", [[], ["--check"]])
def test_a_wrong_key_reaches_no_balancer(tmp_path: Path, flags: list[str]) -> None:
    certificate, _ = pair("vuls.test")
    _, key = pair("vuls.test")
    (tmp_path / "own.crt").write_text(certificate)
    (tmp_path / "own.key").write_text(key)
    done = deploy(tmp_path, *flags)
    assert done.returncode != 0
    assert "were not copied: the key is not that of the certificate" in said(done)
    assert not [line for line in key.splitlines() if line in done.stdout + done.stderr]
    assert not (tmp_path / "edge").exists()


def test_a_sound_pair_passes(tmp_path: Path) -> None:
    certificate, key = pair("vuls.test")
    (tmp_path / "own.crt").write_text(certificate)
    (tmp_path / "own.key").write_text(key)
    done = deploy(tmp_path, "--check")
    assert "Copy the certificate and its key" in said(done)
    assert "were not copied" not in said(done)
