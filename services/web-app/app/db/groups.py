"""Host groups: what users are given rights for."""

from collections.abc import Collection, Sequence

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.models import HostGroup, HostGroupMember


class UnknownGroupError(Exception):
    """A group was named that does not exist; the message lists the unknown ones."""


def groups_by_name(session: Session, names: Collection[str]) -> list[HostGroup]:
    """Return the groups called `names`, in order of name.

    Raises:
        UnknownGroupError: one of them does not exist.
    """
    groups = list(session.scalars(select(HostGroup).where(HostGroup.name.in_(names)).order_by(HostGroup.name)))
    unknown = sorted(set(names) - {group.name for group in groups})
    if unknown:
        raise UnknownGroupError(f"No such group: {', '.join(unknown)}. Create it first or correct the name.")
    return groups


def list_groups(session: Session) -> Sequence[tuple[HostGroup, int]]:
    """Return every group with the number of its hosts, in order of name."""
    rows = session.execute(
        select(HostGroup, func.count(HostGroupMember.host_id))
        .outerjoin(HostGroupMember, HostGroupMember.group_id == HostGroup.id)
        .group_by(HostGroup.id)
        .order_by(HostGroup.name)
    )
    return [(group, count) for group, count in rows]


def ensure_group(session: Session, name: str) -> bool:
    """Make sure that a group is there; True when it was not."""
    made = session.scalar(
        insert(HostGroup).values(name=name).on_conflict_do_nothing(index_elements=["name"]).returning(HostGroup.id)
    )
    return made is not None
