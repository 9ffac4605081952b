"""What stands in the way on the controller: its versions, and the CA and certificates that it keeps.

Findings have the form that preflight_inventory explains.
"""

import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtensionOID

Finding = dict[str, str]


def finding(check: str, what: str, means: str, todo: str) -> Finding:
    """Return one finding."""
    return {"check": check, "what": what, "means": means, "next": todo}


def numbers(version: str) -> tuple[int, ...]:
    """Return a version as numbers that compare."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def versions(
    controller: Mapping[str, Any], ansible: Sequence[str], python: str, needs: Sequence[Mapping[str, str]]
) -> Iterator[Finding]:
    """Look at what runs the playbooks."""
    if not numbers(ansible[0])[:2] <= numbers(controller["ansible"])[:2] <= numbers(ansible[1])[:2]:
        yield finding(
            "versions",
            f"this is ansible-core {controller['ansible']}",
            f"the playbooks are tried with {ansible[0]} to {ansible[1]}; others may do something else unsaid",
            "use the one of requirements.lock: . .venv/bin/activate (scripts/prepare.sh --controller makes it)",
        )
    if numbers(controller["python"]) < numbers(python):
        yield finding(
            "versions",
            f"Ansible runs on Python {controller['python']}",
            f"releases are built with {python} or newer",
            "use the environment of scripts/prepare.sh --controller on Debian 12 or newer",
        )
    for need in needs:
        have = controller["collections"].get(need["name"], "")
        least = need.get("version", "").removeprefix(">=")
        if not have or numbers(have) < numbers(least):
            yield finding(
                "versions",
                f"the collection {need['name']} is {have or 'missing'}",
                f"roles use it, in version {least} or newer",
                "ansible-galaxy collection install -r requirements.yml, "
                "or use the environment of scripts/prepare.sh --controller",
            )


def ends_in(certificate: x509.Certificate) -> int:
    """Return the whole days that a certificate has left; below 0 when it has ended."""
    return (certificate.not_valid_after_utc - dt.datetime.now(dt.UTC)).days


def names_of(certificate: x509.Certificate) -> set[str]:
    """Return its names as "DNS:x" and "IP:y"."""
    try:
        names = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    except x509.ExtensionNotFound:
        return set()
    assert isinstance(names, x509.SubjectAlternativeName)  # noqa: S101  (tells the type)
    return {f"DNS:{name}" for name in names.get_values_for_type(x509.DNSName)} | {
        f"IP:{address}" for address in names.get_values_for_type(x509.IPAddress)
    }


def authority(directory: Path, days: int) -> Iterator[Finding]:
    """Look at the CA; there is none before the first deployment."""
    path, key = directory / "ca.crt", directory / "ca.key"
    if not path.exists() and not key.exists():
        return
    missing = [str(part) for part in (path, key) if not part.exists()]
    if missing == [str(path)] and not any(directory.glob("*.crt")):
        # A first run that was broken off while it made the CA. The next one signs one with this key.
        return
    if missing:
        yield finding(
            "certificates",
            f"{missing[0]} is missing",
            "a CA is both: a new one would be made, and nothing that is deployed would trust it",
            "bring it back from the backup of vuls_state_dir",
        )
        return
    ca = x509.load_pem_x509_certificate(path.read_bytes())
    if ca.public_key() != load_pem_private_key(key.read_bytes(), None).public_key():
        yield finding(
            "certificates",
            f"{key} is not the key of {path}",
            "what it signs is trusted by nobody",
            "bring both back from one backup of vuls_state_dir",
        )
    left = ends_in(ca)
    if left < days:
        yield finding(
            "certificates",
            f"the CA {path} " + ("has expired" if left < 0 else f"ends in {left} days"),
            "with it every certificate of the deployment ends, at once",
            f"move both ca.* files out of {directory} and run site.yml with -e "
            """'{"preflight_accept": ["certificates"]}': a new CA and all certificates are made; connections between """
            "hosts fail until all hosts have them",
        )


def leaves(directory: Path, wanted: Sequence[Mapping[str, Any]], days: int, makes_missing: bool) -> Iterator[Finding]:
    """Look at the certificates that the CA gave, for a playbook that makes none anew."""
    todo = "run site.yml, which makes certificates anew that are due"
    ca_path = directory / "ca.crt"
    ca = x509.load_pem_x509_certificate(ca_path.read_bytes()) if ca_path.exists() else None
    for leaf in wanted:
        path = directory / f"{leaf['name']}.crt"
        if not path.exists():
            if not makes_missing:
                yield finding(
                    "certificates",
                    f"{path} is missing",
                    f"{leaf['name']} could not be deployed to",
                    "run site.yml first",
                )
            continue
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        left = ends_in(certificate)
        if left < days:
            words = "has expired" if left < 0 else f"ends in {left} days"
            yield finding("certificates", f"the certificate {path} {words}", "then clients refuse it", todo)
        lacking = {f"DNS:{leaf['name']}", *leaf.get("alternative_names", [])} - names_of(certificate)
        if lacking:
            names = ", ".join(sorted(lacking))
            yield finding(
                "certificates",
                f"the certificate {path} does not carry {names}",
                "clients that use that name refuse it",
                todo,
            )
        try:
            if ca is not None:
                certificate.verify_directly_issued_by(ca)
        except (ValueError, TypeError, InvalidSignature):
            yield finding(
                "certificates", f"the certificate {path} is of another CA than {ca_path}", "clients refuse it", todo
            )


def preflight_controller(controller: Mapping[str, Any], given: Mapping[str, Any]) -> list[Finding]:
    """Return the findings about the controller.

    Args:
        controller: what preflight_read says of it.
        given: ansible (first and last version), python, collections (as in requirements.yml), authorities (each with
            pki_dir and leaves, as in pki_leaves), ca_days and certificate_days (that have to be left), makes_missing,
            renews_certificates.

    """
    found = [*versions(controller, given["ansible"], given["python"], given["collections"])]
    for one in given["authorities"]:
        directory = Path(one["pki_dir"])
        found += authority(directory, given["ca_days"])
        if not given["renews_certificates"]:
            found += leaves(directory, one["leaves"], given["certificate_days"], given["makes_missing"])
    return found


def preflight_text(findings: Sequence[Finding], accepted: Sequence[str] = ()) -> str:
    """Return the list as it is shown; what is accepted is not in it."""
    counted = [one for one in findings if one["check"] not in accepted and one.get("counts", "yes")]
    lines = [f"{len(counted)} finding{'s' if len(counted) != 1 else ''}; nothing was changed.", ""]
    for number, one in enumerate(counted, 1):
        lines += [
            f"{number}. [{one['check']}] {one['what']}.",
            f"   Meaning: {one['means']}.",
            f"   Next:    {one['next']}.",
        ]
    return "\n".join(lines)


class FilterModule:
    """Filters of the role preflight."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {"preflight_controller": preflight_controller, "preflight_text": preflight_text}
