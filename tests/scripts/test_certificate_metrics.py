"""The page on monitoring has a script that tells when a host's certificates end, and alarms that read what it tells."""

import datetime as dt
import re
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from .rules import ROOT

PAGE = (ROOT / "docs/operations/monitoring.md").read_text()
METRIC = "vuls_certificate_not_after_timestamp_seconds"
ENDS = dt.datetime(2031, 2, 3, 4, 5, 6, tzinfo=dt.UTC)


def certificate(path: Path, ends: dt.datetime) -> None:
    """Write a certificate that is valid until then."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, path.stem)])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
        .not_valid_after(ends)
        .sign(key, hashes.SHA256())
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))


def told(place: Path) -> dict[str, float]:
    """Run the script of the page below a directory; returns the metric by file."""
    (script,) = [text for text in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) if METRIC in text]
    moved = script.replace("/var/lib/prometheus/node-exporter", str(place)).replace("/etc/vuls", f"{place}/etc")
    assert moved.count(str(place)) == 3, "nothing of this machine is read or written"
    done = subprocess.run(["sh"], input=moved, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert not list(place.glob("*.new"))
    line = re.compile(METRIC + r'\{file="([^"]+)"\} (\d+)')
    found = [line.fullmatch(text) for text in (place / "vuls-certificates.prom").read_text().splitlines()]
    return {match[1].removeprefix(f"{place}/etc/"): float(match[2]) for match in found if match}


def test_each_certificate_of_a_host_is_told_with_its_end(tmp_path: Path) -> None:
    certificate(tmp_path / "etc/pki/ca.crt", ENDS)
    certificate(tmp_path / "etc/pki/db-1.crt", ENDS - dt.timedelta(days=3))
    certificate(tmp_path / "etc/pki-backup/db-1.crt", ENDS - dt.timedelta(days=400))
    assert told(tmp_path) == {
        "pki/ca.crt": ENDS.timestamp(),
        "pki/db-1.crt": ENDS.timestamp() - 3 * 86400,
        "pki-backup/db-1.crt": ENDS.timestamp() - 400 * 86400,
    }


def test_a_host_without_backups_and_a_certificate_that_cannot_be_read(tmp_path: Path) -> None:
    certificate(tmp_path / "etc/pki/ca.crt", ENDS)
    (tmp_path / "etc/pki/web-1.crt").write_text("half a certifi")
    assert told(tmp_path) == {"pki/ca.crt": ENDS.timestamp(), "pki/web-1.crt": 0}


@pytest.mark.parametrize(
    ("alert", "file", "days", "setting"),
    [
        ("VulsCertificateEnds", '!~".*/ca.crt"', 14, "preflight_certificate_days"),
        ("VulsCaEnds", '=~".*/ca.crt"', 90, "preflight_ca_days"),
    ],
)
def test_the_alarms_come_as_early_as_preflight_refuses(alert: str, file: str, days: int, setting: str) -> None:
    expression = re.search(rf"- alert: {alert} .*\n +expr: (.*)", PAGE)
    assert expression is not None
    assert expression[1] == f"{METRIC}{{file{file}}} - time() < {days} * 86400"
    assert f"\n{setting}: {days}\n" in (ROOT / "roles/preflight/defaults/main.yml").read_text()
