"""Who may see and do what."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a user may do on the hosts of its groups; an administrator may do everything everywhere."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Access:
    """The rights of a signed-in user as they are now. `host_ids` is None for those who may see all hosts."""

    user_id: int
    name: str
    role: Role
    host_ids: frozenset[int] | None

    @property
    def is_admin(self) -> bool:
        """Tell whether this user may manage users, hosts and everything else."""
        return self.role is Role.ADMIN

    def may_see(self, host_id: int | None) -> bool:
        """Tell whether this user may read what concerns `host_id`; what concerns no host is for those who see all."""
        return self.host_ids is None or (host_id is not None and host_id in self.host_ids)

    def may_operate(self, host_id: int) -> bool:
        """Tell whether this user may run, cancel and schedule scans of `host_id`."""
        return self.role is not Role.VIEWER and self.may_see(host_id)
