"""The two pages: sign in, and the scheduler. Everything else a browser needs are files in `/static` and the API."""

from pathlib import Path

import orjson
from fastapi import APIRouter
from fastapi.responses import RedirectResponse, Response
from markupsafe import Markup

from app.api.auth import OptionalUser
from app.api.deps import Db
from app.api.instance import CurrentInstance
from app.api.template import page
from app.db.overview import overview

STATIC_DIR = Path(__file__).parent.parent / "static"

# Inside <script> only these can end the element or start a comment; as \u escapes they mean the same to JSON.
_SCRIPT_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}

router = APIRouter(include_in_schema=False)


@router.get("/")
async def scheduler_page(db: Db, user: OptionalUser, instance: CurrentInstance) -> Response:
    """Show the scheduler page with the state and the cursor it is true at; send strangers to sign in.

    The redirect names no `next`: a browser keeps the `#run-…` of the address by itself.
    """
    if user is None:
        return RedirectResponse("/login", status_code=303)
    state = await db.run_sync(overview, user.access)
    return page("scheduler.html", state=script_json(state), release=instance.settings.release_id)


@router.get("/login")
async def login_page(user: OptionalUser) -> Response:
    """Show the sign-in page. Who is signed in goes on to the scheduler."""
    if user is not None:
        return RedirectResponse("/", status_code=303)
    return page("login.html")


def script_json(value: object) -> Markup:
    """Return `value` as JSON that cannot leave a `<script type="application/json">` element."""
    return Markup(orjson.dumps(value).decode().translate(_SCRIPT_ESCAPES))  # noqa: S704  (escaped on this line)
