"""Hosts as a user may see them."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, select, true
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import InstrumentedAttribute, Session, selectinload

from app.db.arrays import one_of
from app.db.groups import groups_by_name
from app.db.models import Host
from app.domain.permissions import Access


class HostExistsError(Exception):
    """The name is taken; the message is a sentence for the one who asked."""


def visible(column: InstrumentedAttribute[int], access: Access) -> ColumnElement[bool]:
    """Return the condition that `column`, a host's id, is one that `access` may see."""
    return true() if access.host_ids is None else column == one_of(access.host_ids, BigInteger)


def list_hosts(session: Session, access: Access, after: int | None = None, limit: int | None = None) -> Sequence[Host]:
    """Return all hosts, or up to `limit`, whose id is above `after`, lowest id first, with their groups."""
    query = select(Host).where(visible(Host.id, access)).options(selectinload(Host.groups)).order_by(Host.id)
    if after is not None:
        query = query.where(Host.id > after)
    return session.scalars(query.limit(limit)).all()


def get_host(session: Session, access: Access, host_id: int) -> Host | None:
    """Return a host with its groups; None where there is none that `access` may see."""
    query = select(Host).where(Host.id == host_id, visible(Host.id, access)).options(selectinload(Host.groups))
    return session.scalar(query)


def find_hosts(session: Session, name: str | None = None, zone: str | None = None) -> Sequence[Host]:
    """Return the hosts of a name or a zone, or all, as this process's database role sees them, lowest id first."""
    query = select(Host).order_by(Host.id)
    if name is not None:
        query = query.where(Host.name == name)
    if zone is not None:
        query = query.where(Host.zone == zone)
    return session.scalars(query).all()


def create_host(
    session: Session,
    *,
    name: str,
    address: str,
    port: int,
    zone: str,
    hypervisor_group: str | None = None,
    groups: Collection[str] = (),
) -> Host:
    """Add a host to the caller's transaction.

    Raises:
        HostExistsError: the name is taken.
        UnknownGroupError: one of `groups` does not exist.
    """
    host_id = session.scalar(
        insert(Host)
        .values(name=name, address=address, port=port, zone=zone, hypervisor_group=hypervisor_group)
        .on_conflict_do_nothing(index_elements=[Host.name])
        .returning(Host.id)
    )
    if host_id is None:
        raise HostExistsError(f"There is a host called {name} already; choose another name.")
    host = session.get_one(Host, host_id)
    host.groups = groups_by_name(session, groups)
    session.flush()
    return host


def host_json(host: Host) -> dict[str, Any]:
    """Return what HTTP bodies say of a host."""
    return {
        "id": host.id,
        "name": host.name,
        "address": host.address,
        "port": host.port,
        "zone": host.zone,
        "hypervisor_group": host.hypervisor_group,
        "groups": [group.name for group in host.groups],
    }
