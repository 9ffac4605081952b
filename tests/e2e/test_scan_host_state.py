"""What the page and the metrics say of the scan host, told by its worker."""

import hashlib

import httpx

from . import stack

DATABASE = stack.ROOT / "tests/data/vuls/demo-db/base.db"


def test_the_scan_host_is_ready_and_its_database_is_the_one_that_was_deployed(admin: httpx.Client) -> None:
    digest = f"sha256:{hashlib.sha256(DATABASE.read_bytes()).hexdigest()}"

    def told() -> bool:
        hosts = admin.get("/api/scan-hosts").raise_for_status().json()["items"]
        known = [(host["name"], host["zone"], host["state"], (host["database"] or {}).get("digest")) for host in hosts]
        return known == [("vuls-worker", "default", "ok", digest)]

    stack.wait_until(told, timeout=90, what="the worker tells how its host is")
    for host in stack.WEB_HOSTS:
        metrics = stack.metrics(host, 1)
        assert 'vuls_scan_host_state{scan_host="vuls-worker",state="ok",zone="default"} 1.0' in metrics
        assert f'vuls_vulnerability_database_info{{digest="{digest}",' in metrics


def test_a_scan_says_which_database_it_was_matched_against(admin: httpx.Client) -> None:
    ended = stack.finished(admin, stack.start_run(admin, 1)["id"])
    scan = admin.get(f"/api/scans/{ended['result_data']['scan_id']}").raise_for_status().json()
    (host,) = admin.get("/api/scan-hosts").json()["items"]
    assert scan["database"] == host["database"]
