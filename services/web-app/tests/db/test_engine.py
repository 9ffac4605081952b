"""JSON goes in and comes out unchanged, except what PostgreSQL cannot hold."""

from collections.abc import Callable

import pytest
from sqlalchemy import text

from app.db.engine import make_engine
from app.db.events import load_event, record_event
from tests.conftest import Sessions, SettingsMaker


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("plain", "plain"),
        ("a\u0000b", "ab"),
        ("\\u0000", "\\u0000"),
        ("\\\u0000", "\\"),
        ("\\\\\u0000x", "\\\\x"),
        ("ü\U0001f600", "ü\U0001f600"),
    ],
)
def test_text_from_a_scanned_host_can_be_stored(sessions_as: Callable[..., Sessions], value: str, stored: str) -> None:
    sessions = sessions_as("web")
    with sessions.begin() as session:
        event = record_event(session, "notice", None, {"text": value})
    with sessions() as session:
        assert load_event(session, event.id).data == {"text": stored}


def test_sessions_use_utc_and_bounded_waits_and_compile_nothing(make_settings: SettingsMaker) -> None:
    engine = make_engine(make_settings("web"))
    with engine.connect() as connection:
        shown = [
            connection.execute(text(f"SHOW {name}")).scalar_one()
            for name in ("timezone", "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "jit")
        ]
    engine.dispose()
    assert shown == ["UTC", "30s", "10s", "1min", "off"]
