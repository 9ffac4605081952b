"""The application of a web instance: `app.main:app`."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI

from app.api import (
    asyncapi,
    body_limit,
    events,
    headers,
    health,
    hosts,
    login,
    notifications,
    overview,
    pages,
    problems,
    runs,
    scan_hosts,
    static,
    tasks,
    tokens,
    users,
    websocket,
)
from app.api.instance import Instance
from app.api.readiness import Readiness
from app.config import Settings, get_settings
from app.db.engine import async_session_factory, make_async_engine
from app.realtime.service import Realtime
from app.utils.passwords import verify_password

SPARE_CONNECTIONS = 2  # to the database, that a crowd of handshakes leaves to requests and to the checks of rights
MAX_BODY = 64 * 1024  # bytes of a request; the largest body of the API is a user with a hundred groups
_ROUTERS = (
    health,
    login,
    overview,
    tasks,
    runs,
    hosts,
    scan_hosts,
    users,
    tokens,
    notifications,
    events,
    websocket,
    asyncapi,
    pages,
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """Make the application. Nothing is connected before the server starts it."""
    settings = settings or get_settings()
    app = FastAPI(
        title="Vuls Live",
        version="1",
        description="Scheduled Vuls scans with live notifications. The live feed is described in /api/asyncapi.json.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan(settings),
        responses=problems.DESCRIPTION,
    )
    problems.install(app)
    app.add_middleware(body_limit.BodyLimitMiddleware, limit=MAX_BODY)
    app.add_middleware(headers.EdgeMiddleware, instance=settings.instance)
    for module in _ROUTERS:
        app.include_router(module.router)
    app.mount("/static", static.files(pages.STATIC_DIR), name="static")
    return app


def _lifespan(settings: Settings) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine = make_async_engine(settings)
        sessions = async_session_factory(engine)
        realtime = Realtime(settings, sessions, websocket.manager)
        # The first login must not take longer than the others: that would tell that its user does not exist.
        await asyncio.to_thread(verify_password, "", None)
        try:
            async with realtime.running():
                door = asyncio.Semaphore(max(1, settings.database_pool_size - SPARE_CONNECTIONS))
                app.state.instance = Instance(settings, sessions, realtime, Readiness(sessions, realtime), door)
                yield
        finally:
            app.state.instance = None
            await engine.dispose()

    return lifespan


app = create_app()
