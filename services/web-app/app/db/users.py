"""Users, their groups, and what they may see."""

from collections.abc import Collection, Sequence

from sqlalchemy import BigInteger, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, selectinload

from app.db.arrays import one_of
from app.db.groups import groups_by_name
from app.db.models import HostGroupMember, User, UserGroup, UserSession
from app.domain.permissions import Access, Role


class UserExistsError(Exception):
    """The name is taken; the message is a sentence for the one who asked."""


def find_user(session: Session, name: str) -> User | None:
    """Return the user called `name`, disabled or not."""
    return session.scalar(select(User).where(User.name == name).options(selectinload(User.groups)))


def get_user(session: Session, user_id: int) -> User | None:
    """Return the user with this id, disabled or not."""
    return session.scalar(select(User).where(User.id == user_id).options(selectinload(User.groups)))


def list_users(session: Session, after: int | None = None, limit: int = 100) -> Sequence[User]:
    """Return up to `limit` users whose id is above `after`, lowest id first."""
    query = select(User).options(selectinload(User.groups)).order_by(User.id).limit(limit)
    if after is not None:
        query = query.where(User.id > after)
    return session.scalars(query).all()


def create_user(
    session: Session, *, name: str, role: Role, password_hash: str | None, groups: Collection[str] = ()
) -> User:
    """Add a user who has `role` on the hosts of `groups`.

    Raises:
        UserExistsError: the name is taken.
        UnknownGroupError: one of `groups` does not exist.
    """
    user_id = session.scalar(
        insert(User)
        .values(name=name, role=str(role), password_hash=password_hash, created_at=func.now())
        .on_conflict_do_nothing(index_elements=[User.name])
        .returning(User.id)
    )
    if user_id is None:
        raise UserExistsError(f"There is a user called {name} already; choose another name or change that user.")
    user = session.get_one(User, user_id)
    user.groups = groups_by_name(session, groups)
    session.flush()
    return user


def disable_user(session: Session, user: User) -> None:
    """Keep the user from signing in, and end every session. Tokens are refused while the user is disabled."""
    user.disabled = True
    end_sessions(session, user.id)


def delete_user(session: Session, user: User) -> None:
    """Remove the user with sessions and tokens."""
    session.execute(delete(User).where(User.id == user.id))


def end_sessions(session: Session, user_id: int) -> None:
    """Sign the user out everywhere."""
    session.execute(delete(UserSession).where(UserSession.user_id == user_id))


def load_access(session: Session, user_id: int) -> Access | None:
    """Return what the user may do now, or None when the user is gone or disabled."""
    return load_accesses(session, [user_id]).get(user_id)


def load_accesses(session: Session, user_ids: Collection[int]) -> dict[int, Access]:
    """Return what each of these users may do now; the gone and the disabled are left out. One query."""
    rows = session.execute(
        select(
            User.id,
            User.name,
            User.role,
            func.array_remove(func.array_agg(HostGroupMember.host_id.distinct()), None),
        )
        .outerjoin(UserGroup, UserGroup.user_id == User.id)
        .outerjoin(HostGroupMember, HostGroupMember.group_id == UserGroup.group_id)
        .where(User.id == one_of(user_ids, BigInteger), User.disabled.is_(False))
        .group_by(User.id)
    )
    return {
        user_id: Access(user_id, name, Role(role), None if Role(role) is Role.ADMIN else frozenset(host_ids))
        for user_id, name, role, host_ids in rows
    }
