"""What keeps a certificate of the operator's own, and its key, from serving browsers."""

import datetime as dt
import ipaddress
from collections.abc import Iterable
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key


def _covers(certificate: x509.Certificate, name: str) -> bool:
    """Return whether a browser that asks for this name or address takes the certificate."""
    try:
        held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    try:
        return ipaddress.ip_address(name) in held.get_values_for_type(x509.IPAddress)
    except ValueError:
        wanted = name.lower().rstrip(".")
        # An asterisk stands for one label.
        return bool(
            {wanted, f"*.{wanted.partition('.')[2]}"} & {one.lower() for one in held.get_values_for_type(x509.DNSName)}
        )


def nginx_pair(certificate: str, key: str, names: Iterable[str]) -> list[str]:
    """Return what is wrong with a certificate (with its chain behind it) and its key, as parts of a sentence.

    Args:
        certificate: the content of its file, PEM; nginx shows the first certificate in it as its own.
        key: the content of the other file, PEM. Nothing of it is ever repeated.
        names: what browsers ask for, names or addresses, each of which the certificate has to have.
    """
    wrong = []
    own = private = None
    try:
        own = x509.load_pem_x509_certificate(certificate.encode())
    except ValueError:
        wrong.append("the first file holds no certificate in PEM")
    try:
        private = load_pem_private_key(key.encode(), None)
    except TypeError:
        wrong.append("the key has a passphrase, which nobody could give to nginx")
    except (ValueError, UnsupportedAlgorithm):
        wrong.append("the second file holds no key in PEM")
    if own is None:
        return wrong
    if private is not None and own.public_key() != private.public_key():
        wrong.append("the key is not that of the certificate, or the chain stands before the certificate")
    if own.not_valid_after_utc < dt.datetime.now(dt.UTC):
        wrong.append(f"the certificate ended on {own.not_valid_after_utc:%Y-%m-%d}")
    return wrong + [f"the certificate does not have the name {name}" for name in names if not _covers(own, name)]


class FilterModule:
    """The filter, under the name that tasks use."""

    def filters(self) -> dict[str, Any]:
        """Return it by name."""
        return {"nginx_pair": nginx_pair}
