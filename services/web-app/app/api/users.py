"""`/api/users`: who may sign in. For administrators."""

from typing import Annotated, Any

from fastapi import APIRouter, Path
from sqlalchemy.orm import Session

from app.api import passwords
from app.api.auth import Admin
from app.api.deps import Db, Limit, page
from app.api.problems import conflict, invalid, not_found
from app.api.schemas import Id, NewUser, Page, UserChange, UserShown
from app.db import models, users
from app.db.groups import UnknownGroupError, groups_by_name

router = APIRouter(prefix="/api/users", tags=["users"])
UserId = Annotated[Id, Path()]


@router.get("", response_model=Page[UserShown])
async def list_users(db: Db, _: Admin, after: Id | None = None, limit: Limit = 100) -> dict[str, Any]:
    """List all users."""
    rows = await db.run_sync(users.list_users, after, limit + 1)
    return page(rows, limit, user_json, lambda user: user.id)


@router.post("", status_code=201, response_model=UserShown)
async def create_user(body: NewUser, db: Db, _: Admin) -> dict[str, Any]:
    """Add a user."""
    password_hash = await passwords.make_hash(body.password.get_secret_value()) if body.password else None

    def create(session: Session) -> models.User:
        return users.create_user(
            session, name=body.name, role=body.role, password_hash=password_hash, groups=body.groups
        )

    try:
        user = await db.run_sync(create)
    except users.UserExistsError as error:
        raise conflict("user_exists", str(error)) from error
    except UnknownGroupError as error:
        raise invalid("groups", str(error)) from error
    await db.commit()
    return user_json(user)


@router.get("/{user_id}", response_model=UserShown)
async def get_user(user_id: UserId, db: Db, _: Admin) -> dict[str, Any]:
    """Show a user."""
    return user_json(await _find(user_id, db))


@router.patch("/{user_id}", response_model=UserShown)
async def change_user(user_id: UserId, body: UserChange, db: Db, admin: Admin) -> dict[str, Any]:
    """Change a user. A new password or `disabled` signs the user out everywhere; new rights hold within seconds."""
    if user_id == admin.access.user_id and (body.disabled or body.role not in (None, admin.access.role)):
        raise conflict("own_user", "Another administrator has to take your own rights away.")
    password_hash = await passwords.make_hash(body.password.get_secret_value()) if body.password else None
    user = await _find(user_id, db)
    try:
        await db.run_sync(_change, user, body, password_hash)
    except UnknownGroupError as error:
        raise invalid("groups", str(error)) from error
    await db.commit()
    return user_json(user)


@router.delete("/{user_id}", status_code=204)
async def delete_user(user_id: UserId, db: Db, admin: Admin) -> None:
    """Remove a user with sessions and tokens."""
    if user_id == admin.access.user_id:
        raise conflict("own_user", "Another administrator has to remove you.")
    await db.run_sync(users.delete_user, await _find(user_id, db))
    await db.commit()


def user_json(user: models.User) -> dict[str, Any]:
    """Return what HTTP bodies say of a user."""
    return {
        "id": user.id,
        "name": user.name,
        "role": user.role,
        "groups": [group.name for group in user.groups],
        "disabled": user.disabled,
        "created_at": user.created_at,
    }


async def _find(user_id: int, db: Db) -> models.User:
    user = await db.run_sync(users.get_user, user_id)
    if user is None:
        raise not_found("user")
    return user


def _change(session: Session, user: models.User, body: UserChange, password_hash: str | None) -> None:
    if body.groups is not None:
        user.groups = groups_by_name(session, body.groups)
    if body.role is not None:
        user.role = str(body.role)
    if password_hash is not None:
        user.password_hash = password_hash
        users.end_sessions(session, user.id)
    if body.disabled:
        users.disable_user(session, user)
    elif body.disabled is False:
        user.disabled = False
