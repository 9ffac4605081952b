import pytest

from app.domain.throttle import counted_as


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        (None, None),
        ("198.51.100.7", "198.51.100.7"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::"),
        ("2001:db8:1:3::1", "2001:db8:1:3::"),
        ("fe80::1%eth0", "fe80::"),
    ],
)
def test_a_customers_addresses_count_as_one(address: str | None, counted: str | None) -> None:
    assert counted_as(address) == counted


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(ValueError, match="example"):
        counted_as("example")
