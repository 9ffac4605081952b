"""Every Sentinel holds to the profile of every TLS port."""

import pytest

from tests.e2e.test_tls_profile import scan


@pytest.mark.parametrize("host", ["vuls-redis", "vuls-redis-2", "vuls-redis-3"])
def test_a_sentinel_holds_to_the_profile(host: str) -> None:
    said = scan(host, 26379, "vuls-worker", None)
    assert said.returncode == 0, said.stdout[-3000:] + said.stderr[-2000:]
    assert "OK - Compliant" in said.stdout, said.stdout[-3000:]
