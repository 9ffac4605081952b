"""Fixtures of the stories of losses: those of the end-to-end tests."""

from tests.e2e.conftest import admin, feed, schemas, tls

__all__ = ["admin", "feed", "schemas", "tls"]
