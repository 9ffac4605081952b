"""Marks of the tests of scripts, roles and playbooks."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known by which `make test` leaves out what only `make test-all` has time for."""
    config.addinivalue_line("markers", "long: plays of Ansible by the dozen; part of make test-all only")
