"""The scheduler page against a real instance, PostgreSQL and Redis, in Chromium."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from playwright.sync_api import Route, expect
from redis import Redis

from app.domain.difference import Change, Changed
from app.domain.permissions import Role
from app.domain.severity import Severity
from tests.page.conftest import OpenPage
from tests.page.edge import Relay
from tests.page.world import ASSESSED, CLEAN, FAILED, NOT_ASSESSED, World
from tests.services import Database


def test_an_empty_system_says_what_is_missing(open_page: OpenPage) -> None:
    page = open_page()
    expect(page.get_by_text("There is no host to scan yet.")).to_be_visible()
    expect(page.get_by_text("Nothing is being scanned.")).to_be_visible()
    expect(page.get_by_text("No run has ended yet.")).to_be_visible()


def test_a_run_goes_from_click_to_toast_and_recent_activity_without_a_reload(
    world: World, open_page: OpenPage, database: Database
) -> None:
    task = world.add_task("vuls-target-1")
    page = open_page()
    page.get_by_role("button", name="Run Scan vuls-target-1").click()
    running = page.locator("#running [data-run-id]")
    expect(running).to_contain_text("Queued")
    expect(page.get_by_role("button", name="Running Scan vuls-target-1")).to_be_disabled()
    run = world.start(world.find_run(task))
    expect(running).to_contain_text("Scanning")
    world.end(run, "success", ASSESSED | {"demo": True})

    toast = page.locator(f".toast[data-run-id='{run.id}']")
    row = page.locator(f"#recent [data-run-id='{run.id}']")
    for place in (toast, row):
        expect(place).to_contain_text("9 vulnerabilities")
        expect(place.locator(".badge")).to_have_text(["2 critical", "2 high", "3 medium", "1 low", "1 unknown"])
        expect(place).to_contain_text("demo data")
        expect(place).to_contain_text("vuls-target-1")
    expect(running).to_have_count(0)
    expect(page.locator(f"tr[data-task-id='{task.id}']")).to_contain_text("9 vulnerabilities")
    expect(page.get_by_role("button", name="Run Scan vuls-target-1")).to_be_enabled()
    assert database.execute("SELECT count(*) FROM run") == [(1,)]


@pytest.mark.parametrize(
    ("result", "headline", "role"), [(NOT_ASSESSED, "Not assessed", "group"), (FAILED, "Failed", "alert")]
)
def test_a_host_that_was_not_assessed_is_never_said_to_have_no_vulnerabilities(
    world: World, open_page: OpenPage, result: dict[str, Any], headline: str, role: str
) -> None:
    task = world.add_task("vuls-target-1")
    page = open_page()
    run = world.scan(task, result)
    toast = page.locator(f".toast[data-run-id='{run.id}']")
    row = page.locator(f"#recent [data-run-id='{run.id}']")
    last_result = page.locator(f"tr[data-task-id='{task.id}']")
    expect(toast).to_have_attribute("role", role)
    for place in (toast, row, last_result):
        expect(place).to_contain_text(headline)
        expect(place).to_contain_text(result["reason"]["sentence"])
        assert "vulnerabilit" not in place.inner_text().replace("vulnerability database", "")
        expect(place.locator(".badge")).to_have_count(0)


def test_what_events_made_of_the_page_is_what_a_reload_shows(world: World, open_page: OpenPage) -> None:
    tasks = [world.add_task(f"vuls-target-{number}") for number in range(4)]
    page = open_page()
    world.scan(tasks[0], ASSESSED)
    world.scan(tasks[1], CLEAN)
    world.scan(tasks[2], FAILED)
    world.start(world.queue(tasks[0]))
    world.queue(tasks[3])
    expect(page.locator("#running [data-run-id]")).to_have_count(2)
    expect(page.locator("#recent [data-run-id]")).to_have_count(3)

    def shown() -> dict[str, list[str]]:
        return {table: page.locator(f"#{table} tbody tr").all_inner_texts() for table in ("tasks", "running", "recent")}

    def without_times(texts: dict[str, list[str]]) -> dict[str, list[str]]:
        return {table: [re.sub(r"\bnow\b|\d+ s( ago)?", "T", text) for text in rows] for table, rows in texts.items()}

    before = without_times(shown())
    page.reload()
    expect(page.locator("#running [data-run-id]")).to_have_count(2)
    assert without_times(shown()) == before


def test_every_tab_gets_the_event(world: World, open_page: OpenPage) -> None:
    task = world.add_task("vuls-target-1", "linux")
    world.add_user("anna", Role.VIEWER, ("linux",))
    first = open_page("anna")
    second = first.context.new_page()
    second.goto("/")
    expect(second.locator("#connection")).to_have_attribute("data-state", "live")
    pages = [first, second, open_page("admin")]
    run = world.scan(task, ASSESSED)
    for page in pages:
        expect(page.locator(f".toast[data-run-id='{run.id}']")).to_have_count(1)


def test_findings_are_shown_worst_first_and_have_an_address(world: World, open_page: OpenPage) -> None:
    run = world.scan(world.add_task("vuls-target-1"), ASSESSED)
    page = open_page()
    page.get_by_role("link", name=re.compile("Findings of Scan vuls-target-1")).click()
    dialog = page.get_by_role("dialog", name="Scan vuls-target-1")
    expect(dialog.locator("[data-cve]")).to_have_count(9)
    expect(dialog.locator("[data-cve]").first).to_contain_text("critical")
    expect(dialog.locator("[data-cve]").first).to_contain_text("1.2.0-1+deb12u1")
    assert page.url.endswith(f"/#run-{run.id}")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("link", name=re.compile("Findings of"))).to_be_focused()
    assert page.url.endswith("/")
    page.goto(f"/#run-{run.id}")
    expect(dialog.locator("[data-cve]")).to_have_count(9)


def test_findings_say_what_changed_since_the_last_assessed_scan(world: World, open_page: OpenPage) -> None:
    task = world.add_task("vuls-target-1")
    first, more = world.scan(task, ASSESSED), world.scan(task, ASSESSED | {"vulnerabilities": 10, "unknown": 2})
    world.scan(task, NOT_ASSESSED)
    again = world.scan(task, ASSESSED)
    page = open_page(path=f"/#run-{first.id}")
    dialog = page.get_by_role("dialog", name="Scan vuls-target-1")
    changes = dialog.locator("[data-changes]")
    expect(dialog.locator("[data-cve]")).to_have_count(9)
    expect(changes).to_have_count(0)
    page.goto(f"/#run-{more.id}")
    expect(changes).to_have_text(re.compile(": 1 new\\.$"))
    expect(dialog.locator("[data-cve]")).to_have_count(10)
    expect(dialog.locator("[data-cve] .tag")).to_have_text(["new"])
    page.goto(f"/#run-{again.id}")
    expect(changes).to_have_text(re.compile(": 1 fixed\\.$"))
    expect(dialog.locator("table").last.locator("[data-cve]")).to_have_attribute("data-cve", "CVE-2024-1009")


def test_changed_findings_of_a_host_are_a_toast_that_leads_to_them(world: World, open_page: OpenPage) -> None:
    run = world.scan(world.add_task("vuls-target-1"), ASSESSED)
    page = open_page()
    world.change(run, [Changed("CVE-1", Change.NEW, Severity.CRITICAL), Changed("CVE-2", Change.FIXED, Severity.LOW)])
    toast = page.locator(f".toast[data-changes='{run.id}']")
    expect(toast).to_have_class(re.compile("bad"))
    expect(toast).to_contain_text("vuls-target-1")
    expect(toast).to_contain_text("1 new (1 critical), 1 fixed")
    toast.get_by_role("link", name="See the findings").click()
    expect(page.get_by_role("dialog").locator("[data-cve]")).to_have_count(9)


@pytest.mark.parametrize("run", ["1", "99999999999999999999", "-1", "x"])
def test_an_address_of_no_run_does_no_harm(open_page: OpenPage, run: str) -> None:
    page = open_page(path=f"/#run-{run}")
    if run == "1":
        expect(page.get_by_role("dialog")).to_contain_text("There is no such run")
    else:
        expect(page.get_by_role("dialog")).to_be_hidden()


def test_a_task_that_was_switched_off_says_so_without_a_schedule_too(world: World, open_page: OpenPage) -> None:
    task = world.add_task("vuls-target-1", enabled=False)
    expect(open_page().locator(f"tr[data-task-id='{task.id}'] .due")).to_have_text("Paused")


def test_a_command_in_a_reason_breaks_between_its_words_and_never_leaves_its_place(
    world: World, open_page: OpenPage
) -> None:
    sentence = f"There is none. Run `ansible-playbook playbooks/x.yml --limit 'a,web' -e add={'h' * 63}` to add it."
    world.scan(world.add_task("vuls-target-1"), FAILED | {"reason": {"code": "unknown_server", "sentence": sentence}})
    why = open_page(viewport={"width": 360, "height": 800}).locator("#recent .why")
    expect(why).to_have_text(sentence.replace("`", ""))
    heights = why.locator("code .word").evaluate_all("words => words.map(word => word.offsetHeight)")
    assert heights[:-1] == [heights[0]] * 5
    assert heights[-1] > heights[0], "the last one does not fit into a line"
    assert why.evaluate("why => why.scrollWidth <= why.clientWidth")


def test_a_task_is_paused_and_resumed(world: World, open_page: OpenPage, database: Database) -> None:
    task = world.add_task("vuls-target-1", cron="0 3 * * *")
    world.scan(task, CLEAN)
    page = open_page()
    row = page.locator(f"tr[data-task-id='{task.id}']")
    row.get_by_role("button", name="Pause Scan vuls-target-1").click()
    expect(row.locator(".due")).to_have_text("Paused")
    expect(row.get_by_role("button", name="Resume Scan vuls-target-1")).to_be_focused()
    expect(row.locator(".result-cell")).to_contain_text("No known vulnerabilities")
    assert database.execute("SELECT enabled, next_due_at FROM scheduled_task") == [(False, None)]
    row.get_by_role("button", name="Resume Scan vuls-target-1").click()
    expect(row.locator(".due time")).to_be_visible()
    assert database.execute("SELECT enabled FROM scheduled_task") == [(True,)]


def test_a_task_that_is_gone_cannot_be_paused(world: World, open_page: OpenPage, database: Database) -> None:
    task = world.add_task("vuls-target-1", cron="0 3 * * *")
    page = open_page()
    database.execute("DELETE FROM scheduled_task WHERE id = %s", task.id)
    page.get_by_role("button", name="Pause Scan vuls-target-1").click()
    expect(page.get_by_role("alert").filter(has_text="Scan vuls-target-1 was not paused")).to_be_visible()


def test_a_large_scan_and_its_packages_are_drawn_in_parts(
    world: World, open_page: OpenPage, database: Database
) -> None:
    run = world.scan(world.add_task("vuls-target-1"), ASSESSED)
    database.execute("""
        INSERT INTO finding (scan_id, cve_id, host_id, severity, title, packages)
        SELECT id, 'CVE-2025-' || 1000 + n, host_id, 'low', 'More', '[]' FROM scan, generate_series(1, 120) n""")
    database.execute("""
        UPDATE scan SET result = jsonb_build_object('packages', (
            SELECT jsonb_object_agg('lib' || n, jsonb_build_object('version', '1.' || n))
              FROM generate_series(1, 142) n))
        """)
    page = open_page(path=f"/#run-{run.id}")
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("[data-cve]")).to_have_count(100)
    dialog.get_by_role("button", name="Show more findings").click()
    expect(dialog.locator("[data-cve]")).to_have_count(129)
    expect(dialog.get_by_role("button", name="Show more findings")).to_have_count(0)
    dialog.get_by_text("Packages (142)").click()
    expect(dialog.locator("[data-package]")).to_have_count(100)
    page.route("**/packages?*", lambda route: route.abort())
    dialog.get_by_role("button", name="Show more packages").click()
    expect(dialog.get_by_role("alert")).to_contain_text("The server cannot be reached.")
    page.unroute("**/packages?*")
    dialog.get_by_role("button", name="Show more packages").click()
    expect(dialog.locator("[data-package]")).to_have_count(142)


def test_a_viewer_sees_why_nothing_can_be_run(world: World, open_page: OpenPage, database: Database) -> None:
    world.add_task("vuls-target-1", "linux")
    world.add_task("vuls-target-2")
    world.add_user("anna", Role.VIEWER, ("linux",))
    page = open_page("anna")
    expect(page.locator("tr[data-task-id]")).to_have_count(1)
    button = page.get_by_role("button", name="Run Scan vuls-target-1")
    expect(button).to_be_disabled()
    expect(button).to_have_attribute("title", re.compile("Your role is viewer"))
    expect(page.get_by_role("button", name="New task")).to_be_hidden()
    button.click(force=True)
    assert database.execute("SELECT count(*) FROM run") == [(0,)]


def test_a_run_that_is_refused_is_told(world: World, open_page: OpenPage, database: Database) -> None:
    task = world.add_task("vuls-target-1")
    page = open_page()
    database.execute("DELETE FROM scheduled_task WHERE id = %s", task.id)
    page.get_by_role("button", name="Run Scan vuls-target-1").click()
    expect(page.get_by_role("alert").filter(has_text="Scan vuls-target-1 was not started")).to_be_visible()


def test_an_operator_creates_a_task(world: World, open_page: OpenPage) -> None:
    world.add_task("vuls-target-1", "linux")
    world.add_user("olga", Role.OPERATOR, ("linux",))
    page = open_page("olga")
    page.get_by_role("button", name="New task").click()
    page.get_by_label("Name", exact=True).fill("Nightly scan")
    page.get_by_label("Schedule", exact=True).select_option(label="Monday to Friday at 03:00")
    expect(page.get_by_text("Monday to Friday at 03:00, Europe/Berlin time.")).to_be_visible()
    page.get_by_label("Time limit in minutes").fill("45")
    page.get_by_role("button", name="Create task").click()
    row = page.locator("tr[data-task-id]").filter(has_text="Nightly scan")
    for text in ("vuls-target-1", "Monday to Friday at 03:00", "Europe/Berlin", "At most 45 min"):
        expect(row).to_contain_text(text)
    page.reload()
    expect(row).to_contain_text("Europe/Berlin")


@pytest.mark.parametrize(
    ("cron", "zone", "problem"),
    [
        ("", "UTC", "Write five cron fields"),
        ("61 * * * *", "UTC", "crontab(5)"),
        ("0 3 * * *", "Mars/Olympus", "nknown time zone"),
        ("0 3 * * *", "", "Name a time zone"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_at_its_field(
    world: World, open_page: OpenPage, database: Database, cron: str, zone: str, problem: str
) -> None:
    world.add_task("vuls-target-1")
    page = open_page()
    page.get_by_role("button", name="New task").click()
    page.get_by_label("Name", exact=True).fill("Odd")
    page.get_by_label("Schedule", exact=True).select_option(label="Something else")
    page.get_by_label("Cron expression").fill(cron)
    page.get_by_label("Time zone").fill(zone)
    page.get_by_role("button", name="Create task").click()
    expect(page.locator(".field-problem").filter(has_text=problem)).to_be_visible()
    expect(page.locator("[aria-invalid=true]")).to_be_focused()
    expect(page.locator("[aria-invalid=true]")).to_have_accessible_description(re.compile(re.escape(problem)))
    assert database.execute("SELECT count(*) FROM scheduled_task") == [(1,)]


@pytest.mark.parametrize("minutes", ["0", "1441", "1.5", "e"])
def test_a_time_limit_that_cannot_be_is_refused_at_its_field(
    world: World, open_page: OpenPage, database: Database, minutes: str
) -> None:
    world.add_task("vuls-target-1")
    page = open_page()
    page.get_by_role("button", name="New task").click()
    page.get_by_label("Name", exact=True).fill("Odd")
    page.get_by_label("Time limit in minutes").press_sequentially(minutes)
    page.get_by_role("button", name="Create task").click()
    expect(page.get_by_text("Give whole minutes from 1 to 1440, or leave it empty.")).to_be_visible()
    expect(page.get_by_label("Time limit in minutes")).to_be_focused()
    assert database.execute("SELECT count(*) FROM scheduled_task") == [(1,)]


def test_names_are_text_whatever_they_hold(world: World, open_page: OpenPage) -> None:
    name = "</script><img src=x onerror=alert(1)>&amp;<b>"
    task = world.add_task("vuls-target-1", name=name)
    page = open_page()
    run = world.scan(task, ASSESSED)
    expect(page.locator(f".toast[data-run-id='{run.id}'] .toast-title")).to_have_text(name)
    expect(page.locator("tr[data-task-id] .name")).to_have_text(name)
    expect(page.locator("img")).to_have_count(0)


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_message_of_no_host_is_shown_to_who_sees_all_and_changes_no_list(
    world: World, open_page: OpenPage, redis_client: Redis, by_hand: bool
) -> None:
    world.add_user("anna", Role.VIEWER)
    admin, viewer = open_page(), open_page("anna")
    if by_hand:
        data = {
            "task_id": 999,
            "task_run_id": 888,
            "status": "success",
            "task_name": "Test Notification",
            "result_data": {"test": "data"},
            "timestamp": datetime.now(UTC).replace(tzinfo=None).isoformat(),
        }
        redis_client.publish("task_notifications", orjson.dumps({"type": "task_update", "data": data}))
    else:
        world.notify("Test Notification")
    expect(admin.locator(".toast")).to_contain_text("Test Notification")
    expect(admin.locator("#recent [data-run-id]")).to_have_count(0)
    expect(viewer.locator(".toast")).to_have_count(0)


def test_times_are_in_the_readers_zone(world: World, open_page: OpenPage) -> None:
    world.scan(world.add_task("vuls-target-1"), ASSESSED)
    page = open_page(timezone_id="Asia/Kolkata")
    time = page.locator("#recent time")
    expect(time).to_have_text(re.compile(r"^(now|\d+ s ago)$"))
    expect(time).to_have_attribute("title", re.compile(r"GMT\+5:30$"))
    expect(time).to_have_attribute("datetime", re.compile(r"^\d{4}-\d\d-\d\dT[\d:.]+Z$"))


def test_a_passed_due_time_is_replaced_by_the_next(world: World, open_page: OpenPage, database: Database) -> None:
    task = world.add_task("vuls-target-1", cron="0 3 * * *")
    database.execute("UPDATE scheduled_task SET next_due_at = now() + interval '30 s'")
    page = open_page(clock=True)
    expect(page.locator(f"tr[data-task-id='{task.id}'] .due")).to_have_text(re.compile("in .* s"))
    database.execute("UPDATE scheduled_task SET next_due_at = now() + interval '5 hours 30 minutes'")
    page.clock.run_for(40_000)
    expect(page.locator(f"tr[data-task-id='{task.id}'] .due")).to_have_text("in 5 h")


@pytest.mark.parametrize("path", ["/", "/login"])
def test_a_narrow_screen_does_not_scroll_sideways(world: World, open_page: OpenPage, path: str) -> None:
    name = "anna-with-a-very-long-name@subsidiary.example.com"
    world.add_user(name, Role.ADMIN)
    for result in (ASSESSED | {"demo": True}, NOT_ASSESSED, FAILED):
        task = world.add_task(f"host-{result['verdict']}-with-a-name-of-sixty-characters-in-all", cron="0 3 * * *")
        world.scan(task, result)
    page = open_page(name, viewport={"width": 360, "height": 740})
    if path == "/login":
        page.context.clear_cookies()
        page.goto(path)
    assert page.evaluate("document.documentElement.scrollWidth") == 360


_CONTRASTS = """() => {
  const rgba = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (value) => (value / 255 <= 0.03928 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      if (colour[3] !== 0) return colour;
    }
    return [255, 255, 255];
  };
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode()); ) {
    const element = node.parentElement;
    if (!node.data.trim() || !element.checkVisibility({ visibilityProperty: true })) continue;
    const [a, b] = [light(rgba(getComputedStyle(element).color)), light(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push(`${ratio.toFixed(2)} ${element.className} ${node.data.trim()}`);
  }
  return poor;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_the_contrast_of_wcag_aa(world: World, open_page: OpenPage, scheme: str) -> None:
    task = world.add_task("vuls-target-1", cron="0 3 * * *")
    page = open_page(color_scheme=scheme, reduced_motion="reduce")
    for result in (ASSESSED | {"demo": True}, CLEAN, NOT_ASSESSED, FAILED):
        world.scan(task, result)
    world.queue(task)
    expect(page.locator("#running [data-run-id]")).to_have_count(1)
    expect(page.locator(".toast")).to_have_count(4)
    assert page.evaluate(_CONTRASTS) == []
    grounds = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert grounds == {"light": "rgb(244, 245, 248)", "dark": "rgb(14, 18, 24)"}[scheme]


def test_the_page_is_usable_by_keyboard(world: World, open_page: OpenPage) -> None:
    world.add_task("vuls-target-1")
    page = open_page()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the tasks")).to_be_focused()
    for name in ("Connection: Live", "Sign out", "New task", "Run Scan vuls-target-1"):
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name=name)).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Running Scan vuls-target-1")).to_be_focused()


def test_a_page_without_a_session_is_not_embedded(open_page: OpenPage, relay: Relay) -> None:
    page = open_page()
    page.context.clear_cookies()
    answer = page.request.get("/", max_redirects=0)
    assert answer.status == 303
    assert answer.headers["location"] == "/login"
    assert relay.origin not in answer.text()


def test_an_instance_of_the_release_before_which_knows_no_scan_hosts_is_shown_too(
    world: World, open_page: OpenPage
) -> None:
    world.add_task("web-3")
    page = open_page()

    def older(route: Route) -> None:
        response = route.fetch()
        body, found = re.subn(r',"scan_hosts":\s*\[\]', "", response.text())
        assert found == 1
        route.fulfill(response=response, body=body)

    page.route(re.compile("/$"), older)
    page.reload()
    expect(page.locator("#tasks")).to_contain_text("web-3")
    expect(page.get_by_text("No scan host has been heard of yet.")).to_be_visible()


def test_scan_hosts_are_listed_with_their_state_and_the_age_of_their_database(
    world: World, open_page: OpenPage, database: Database
) -> None:
    page = open_page()
    expect(page.get_by_text("No scan host has been heard of yet.")).to_be_visible()
    world.tell_of_scan_host("ok", "scan-1", timedelta(days=3))
    world.tell_of_scan_host("degraded", "scan-2")
    world.tell_of_scan_host("ok", "scan-3", timedelta(hours=5))
    database.execute("UPDATE scan_host SET seen_at = now() - interval '10 minutes' WHERE name = 'scan-3'")
    page.reload()
    rows = page.locator("#scan-hosts tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.nth(0)).to_contain_text("Ready")
    expect(rows.nth(0)).to_contain_text("Changed 3 days ago")
    expect(rows.nth(0)).to_contain_text("4f4f4f4f4f4f")
    expect(rows.nth(1)).to_contain_text("Cannot assess")
    expect(rows.nth(1)).to_contain_text("Unknown")
    expect(rows.nth(2)).to_contain_text("Not heard of")
    expect(rows.nth(2)).to_contain_text("Last 10 min ago")
