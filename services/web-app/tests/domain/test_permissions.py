"""Rights are what the contract's three roles say."""

import pytest

from app.domain.permissions import Access, Role

SOME = frozenset({1, 2})


@pytest.mark.parametrize(
    ("role", "host_ids", "host_id", "sees", "operates"),
    [
        (Role.VIEWER, SOME, 1, True, False),
        (Role.VIEWER, SOME, 3, False, False),
        (Role.OPERATOR, SOME, 2, True, True),
        (Role.OPERATOR, SOME, 3, False, False),
        (Role.OPERATOR, frozenset(), 1, False, False),
        (Role.ADMIN, None, 3, True, True),
    ],
)
def test_a_role_reaches_the_hosts_of_its_groups(
    role: Role, host_ids: frozenset[int] | None, host_id: int, sees: bool, operates: bool
) -> None:
    access = Access(1, "anna", role, host_ids)
    assert (access.may_see(host_id), access.may_operate(host_id)) == (sees, operates)


@pytest.mark.parametrize(("host_ids", "sees"), [(None, True), (SOME, False)])
def test_what_concerns_no_host_is_for_those_who_see_all(host_ids: frozenset[int] | None, sees: bool) -> None:
    assert Access(1, "anna", Role.ADMIN, host_ids).may_see(None) is sees
