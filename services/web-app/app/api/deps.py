"""Dependencies that most routes share: a database session and the place in a list."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Annotated, Any

from fastapi import Depends, Query
from sqlalchemy.ext.asyncio import AsyncSession

from app.api.instance import CurrentInstance

PAGE = 100  # the most items of one page of a list


async def get_db(instance: CurrentInstance) -> AsyncIterator[AsyncSession]:
    """Give a session whose changes are lost unless the route commits. Given back before the answer is sent."""
    async with instance.sessions() as session:
        yield session


Db = Annotated[AsyncSession, Depends(get_db, scope="function")]
Limit = Annotated[int, Query(ge=1, le=PAGE)]


def page(
    rows: Sequence[Any], limit: int, to_json: Callable[[Any], Any], key: Callable[[Any], object]
) -> dict[str, Any]:
    """Return a page of a list from up to `limit + 1` rows; `next` is where the following page begins, or None."""
    shown = rows[:limit]
    more = len(rows) > limit
    return {"items": [to_json(row) for row in shown], "next": str(key(shown[-1])) if more else None}
