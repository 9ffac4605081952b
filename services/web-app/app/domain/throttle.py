"""By what logins that fail, and connections, are counted."""

import ipaddress

_CUSTOMER = 64  # bits: what one IPv6 customer has at least, and may pick any address of (RFC 6177)


def counted_as(address: str | None) -> str | None:
    """Return the address that stands for all of the same customer; None, the unknown one, stays None.

    Raises:
        ValueError: the text is no IP address.
    """
    if address is None:
        return None
    found = ipaddress.ip_address(address)
    if found.version == 4:
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found.packed, _CUSTOMER), strict=False).network_address)
