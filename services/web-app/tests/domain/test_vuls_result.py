"""What is read of a result, and how much of it a hostile one can bring."""

from typing import Any

import pytest

from app.domain import vuls_result
from app.domain.verdict import judge
from app.domain.vuls_result import BadResultError, FoundCve, VulsResult
from tests.recordings import Recording


def result_with(**changes: Any) -> dict[str, Any]:
    return Recording("report-ok").result("t1") | changes


def one_cve(**cve: Any) -> FoundCve:
    (found,) = VulsResult.parse(result_with(scannedCves={"CVE-2099-0001": cve})).findings
    return found


def test_a_recorded_finding_has_packages_fixed_versions_and_links() -> None:
    read = VulsResult.parse(Recording("report-ok").result("t1"))
    by_id = {found.cve_id: found for found in read.findings}
    assert by_id["CVE-2099-0001"].packages == [{"name": "zlib1g", "fixed_in": None, "not_fixed_yet": True}]
    assert by_id["CVE-2099-0001"].links == [
        "https://security-tracker.debian.org/tracker/CVE-2099-0001",
        "https://nvd.nist.gov/vuln/detail/CVE-2099-0001",
    ]
    fixed = [package for found in read.findings for package in found.packages if package["fixed_in"]]
    assert fixed
    assert not any(package["not_fixed_yet"] for package in fixed)
    assert (read.kernel, read.reboot_required) == ("6.18.44-fc-v669", False)


@pytest.mark.parametrize(
    ("kernel", "required"),
    [
        ({"release": "6.1.0-9", "rebootRequired": True}, True),
        ({"rebootRequired": "yes"}, False),
        ({}, False),
        (None, False),
    ],
)
def test_the_flag_that_a_kernel_waits_for_a_reboot_is_kept(kernel: dict[str, Any] | None, required: bool) -> None:
    assert VulsResult.parse(result_with(runningKernel=kernel)).reboot_required is required


@pytest.mark.parametrize("version", [5, 3, 0, None, "4", 4.0, True, "x" * 100_000])
def test_another_major_version_is_refused_with_a_clear_sentence(version: Any) -> None:
    verdict = judge(0, 0, result_with(jsonVersion=version), [], host="web-1")
    assert verdict.reason is not None
    assert (verdict.verdict, verdict.reason.code) == ("failed", "other_version")
    assert "web-1" in verdict.reason.sentence
    assert "not 4" in verdict.reason.sentence
    assert len(verdict.reason.sentence) < 400


def test_fields_that_nobody_knows_yet_are_passed_over() -> None:
    read = VulsResult.parse(result_with(brandNew={"deep": [1]}))
    assert len(read.findings) == 9
    assert one_cve(brandNew=[1], cveContents={"new_source": [{"title": "A title", "brandNew": 1}]}).title == "A title"


@pytest.mark.parametrize(
    "cve_id", ["C" * 10_000, "", "CVE-\0", "CVE 1", "<b>CVE-1</b>", "../../etc/passwd", "CVE-1\n", "'; DROP TABLE"]
)
def test_an_id_that_is_none_is_refused_in_a_short_sentence(cve_id: str) -> None:
    verdict = judge(0, 0, result_with(scannedCves={cve_id: {}}), [], host="web-1")
    assert verdict.reason is not None
    assert (verdict.verdict, verdict.reason.code) == ("failed", "bad_result")
    assert len(verdict.reason.sentence) < 300
    assert verdict.reason.sentence.isprintable()


@pytest.mark.parametrize("cve_id", ["CVE-2099-0001", "GHSA-xxxx-xxxx-xxxx", "RHSA-2099:0001", "C" * 64])
def test_ids_of_vendors_are_ids(cve_id: str) -> None:
    assert VulsResult.parse(result_with(scannedCves={cve_id: {}})).findings[0].cve_id == cve_id


def test_more_findings_than_a_host_can_have_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vuls_result, "MAX_FINDINGS", 8)
    with pytest.raises(BadResultError, match="9 findings, more than 8"):
        VulsResult.parse(result_with())


def test_texts_become_one_bounded_printable_line_and_keep_their_html() -> None:
    html = "<script>alert(1)</script>"
    found = one_cve(
        cveContents={"nvd": [{"title": f" {html}\0\n\x1b[31m " + "x" * 1_000_000}]},
        affectedPackages=[{"name": html * 1000, "fixedIn": "1\0.2\n"}] * 1000,
    )
    assert found.title.startswith(f"{html} [31m xxx")
    assert len(found.title) <= vuls_result.TITLE_LENGTH
    assert len(found.packages) == vuls_result.MAX_PACKAGES
    assert len(found.packages[0]["name"]) <= vuls_result.NAME_LENGTH
    assert found.packages[0]["fixed_in"] == "1 .2"
    read = VulsResult.parse(result_with(family="f" * 100_000, release="12\0.5\n"))
    assert (len(read.family), read.release) == (vuls_result.NAME_LENGTH, "12 .5")


def test_only_links_that_a_browser_may_follow_are_kept_each_once() -> None:
    good = [f"https://example.org/{number}" for number in range(30)]
    bad = ["javascript:alert(1)", "https://x y", "ftp://x", "//x", "", "https://x/\n", "https://x/" + "y" * 500]
    contents = [{"sourceLink": link} for link in (*bad, good[0], good[0])]
    found = one_cve(cveContents={"nvd": contents, "other": [{"references": [{"link": link} for link in good]}]})
    assert found.links == good[: vuls_result.MAX_LINKS]


def test_a_field_with_an_endless_name_is_refused_in_a_short_sentence() -> None:
    with pytest.raises(BadResultError) as refusal:
        one_cve(cveContents={"s" * 100_000: "no list"})
    assert len(str(refusal.value)) < 100
