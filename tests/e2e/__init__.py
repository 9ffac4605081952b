"""Tests of the whole: host state, HTTP, WebSocket and a real browser against the deployed stack."""
