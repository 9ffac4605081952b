import assert from "node:assert/strict";
import { test } from "node:test";

import { backoff, CAP } from "../../../app/static/backoff.js";
import { statusHelp, statusText } from "../../../app/static/connection.js";
import { safeNext } from "../../../app/static/paths.js";
import { scheduleInWords } from "../../../app/static/schedule.js";
import { ago, clockTime, duration, parseTime } from "../../../app/static/time.js";
import { changesInWords, counts, digestHeadline, digestSummary, explanation, headline, onlyFixed, outcome, phaseInWords } from "../../../app/static/verdict.js";

/** @import { Status } from "../../../app/static/feed.js" */
/** @import { ChangeCounts, Digest, FindingsChanged, ResultData, RunStatus } from "../../../app/static/types.js" */

/** @type {[string | null, string][]} */
const SCHEDULES = [
  [null, "By hand only"],
  ["* * * * *", "Every minute"],
  ["*/1 * * * *", "Every minute"],
  ["*/15 * * * *", "Every 15 minutes"],
  ["5 * * * *", "Every hour at minute 5"],
  ["0 */6 * * *", "Every 6 hours at minute 0"],
  ["0 3 * * *", "Every day at 03:00"],
  ["30 1,13 * * *", "Every day at 01:30 and 13:30"],
  ["0 3 * * 1-5", "Monday to Friday at 03:00"],
  ["0 3 * * 0", "Every Sunday at 03:00"],
  ["0 3 * * 7", "Every Sunday at 03:00"],
  ["0 3 * * mon,thu", "Every Monday and Thursday at 03:00"],
  ["0 3 1,15 * *", "On day 1 and 15 of the month at 03:00"],
  ["*/10 * * * 1", "Every 10 minutes, every Monday"],
  ["*/7 * * * *", "Cron */7 * * * *"],
  ["*/0 * * * *", "Cron */0 * * * *"],
  ["0 3 * 6 *", "Cron 0 3 * 6 *"],
  ["1-5 3 * * *", "Cron 1-5 3 * * *"],
  ["0 3 L * *", "Cron 0 3 L * *"],
  ["nonsense", "Cron nonsense"],
  ["0 99 * * *", "Cron 0 99 * * *"],
];
for (const [cron, words] of SCHEDULES) {
  test(`the schedule ${cron} reads "${words}"`, () => assert.equal(scheduleInWords(cron), words));
}

/** @type {[number, string][]} */
const DISTANCES = [
  [0, "now"],
  [-4, "now"],
  [-12, "12 s ago"],
  [90, "in 1 min"],
  [-3599, "59 min ago"],
  [7200, "in 2 h"],
  [-3 * 86_400, "3 days ago"],
];
for (const [seconds, words] of DISTANCES) {
  test(`${seconds} seconds from now is "${words}"`, () => assert.equal(ago(1e12 + seconds * 1000, 1e12), words));
}

/** @type {[number, string][]} */
const DURATIONS = [
  [-5000, "0 s"],
  [59_999, "59 s"],
  [125_000, "2 min 05 s"],
  [3_720_000, "1 h 02 min"],
];
for (const [milliseconds, words] of DURATIONS) {
  test(`${milliseconds} ms take "${words}"`, () => assert.equal(duration(milliseconds), words));
}

test("a time without a zone is UTC, as the contract's timestamp", () => {
  assert.equal(parseTime("2025-06-27T15:49:26.760966"), Date.UTC(2025, 5, 27, 15, 49, 26, 760));
  assert.equal(parseTime("2025-06-27T15:49:26Z"), Date.UTC(2025, 5, 27, 15, 49, 26));
  assert.equal(parseTime("2025-06-27T17:49:26+02:00"), Date.UTC(2025, 5, 27, 15, 49, 26));
});

const ORIGIN = "https://vuls.example";
for (const next of ["/", "/#run-15", "/runs?x=1"]) {
  test(`signing in goes on to ${next}`, () => assert.equal(safeNext(next, ORIGIN), next));
}
for (const next of [
  null,
  "",
  "//evil.example",
  "/\\evil.example",
  "https://evil.example/",
  "javascript:alert(1)",
  "/\t/evil.example",
  "evil",
  "\\\\evil.example",
]) {
  test(`signing in does not go on to ${JSON.stringify(next)}`, () => assert.equal(safeNext(next, ORIGIN), "/"));
}

test("the wait doubles up to its cap and is spread over all of it", () => {
  assert.deepEqual(
    [0, 1, 2, 3, 4, 5, 50].map((attempt) => backoff(attempt, () => 1)),
    [1000, 2000, 4000, 8000, 16_000, CAP, CAP],
  );
  assert.equal(
    backoff(4, () => 0),
    0,
  );
});

const NOW = new Date(2026, 10, 23, 14, 3, 30).getTime();
const SINCE = new Date(2026, 10, 23, 14, 3, 22).getTime();
/** @type {[Status, string, RegExp][]} */
const STATES = [
  [{ kind: "connecting", staleSince: null }, "Connecting", /^The page is connecting/],
  [{ kind: "connecting", staleSince: SINCE }, "Connecting, stale since 14:03:22", /^What you see is as of 14:03:22\. /],
  [{ kind: "catching_up", left: 214, staleSince: SINCE }, "Catching up", /as of 14:03:22.*reading what it missed/],
  [{ kind: "live", staleSince: null }, "Live", /at once/],
  [{ kind: "delayed", staleSince: null }, "Live, up to 2 s late", /Nothing is missed.*Redis/],
  [{ kind: "stale", staleSince: SINCE }, "Stale since 14:03:22", /as of 14:03:22.*cannot read its database/],
  [{ kind: "reconnecting", retryAt: NOW + 3200, staleSince: SINCE }, "Reconnecting in 4 s, stale since 14:03:22", /no need to reload/],
  [{ kind: "reconnecting", retryAt: NOW, staleSince: SINCE }, "Reconnecting, stale since 14:03:22", /no need to reload/],
  [{ kind: "polling", why: "socket", staleSince: null }, "Polling every 30 s", /proxy/],
  [{ kind: "polling", why: "limit", staleSince: null }, "Too many open pages: polling every 30 s", /Close some/],
  [{ kind: "polling", why: "server", staleSince: SINCE }, "Server not reachable, stale since 14:03:22", /Check your network/],
  [{ kind: "signed_out", staleSince: SINCE }, "Signed out", /Sign in again/],
];
for (const [status, words, help] of STATES) {
  test(`the header says "${words}" and explains it`, () => {
    assert.equal(statusText(status, NOW), words);
    assert.match(statusHelp(status, NOW), help);
  });
}

test("a time of another day is said with its day", () => {
  assert.equal(clockTime(SINCE, NOW), "14:03:22");
  assert.equal(clockTime(SINCE, NOW + 24 * 3_600_000), "23 Nov, 14:03:22");
});

/** @type {Digest} */
const DIGEST = {
  since: "e-1",
  events: 0,
  queued: 0,
  started: 0,
  success: 0,
  cancelled: 0,
  assessed: 0,
  not_assessed: 0,
  vulnerabilities: 0,
  high: 0,
  medium: 0,
  low: 0,
  unknown: 0,
  changed: 0,
  new: 0,
  fixed: 0,
  reappeared: 0,
  severity_changed: 0,
  hosts: 0,
};
/** @type {[Partial<Digest>, string, string[]][]} */
const DIGESTS = [
  [{ queued: 20, started: 3 }, "", ["Besides: 20 queued, 3 started"]],
  [{ success: 1, assessed: 1, vulnerabilities: 1 }, "1 scan finished", ["1 assessed: 1 vulnerability"]],
  [{ success: 30, assessed: 30 }, "30 scans finished", ["30 assessed: no known vulnerabilities"]],
  [{ success: 30, not_assessed: 30 }, "30 scans finished", ["30 not assessed"]],
  [{ cancelled: 25, queued: 1 }, "25 scans cancelled", ["Besides: 1 queued"]],
  [
    { success: 214, assessed: 209, not_assessed: 3, vulnerabilities: 812, cancelled: 4, started: 6 },
    "214 scans finished",
    ["209 assessed: 812 vulnerabilities", "3 not assessed, 2 without a verdict", "Besides: 4 cancelled, 6 started"],
  ],
  [
    { success: 9, assessed: 9, changed: 8, new: 12, fixed: 3, severity_changed: 1 },
    "9 scans finished",
    ["9 assessed: no known vulnerabilities", "Changed on 8 hosts: 12 new, 1 changed in severity, 3 fixed"],
  ],
];
for (const [digest, headline, lines] of DIGESTS) {
  test(`many updates at once read "${headline}" and "${lines.join('", "')}"`, () => {
    assert.equal(digestHeadline({ ...DIGEST, ...digest }), headline);
    assert.deepEqual(Object.values(digestSummary({ ...DIGEST, ...digest })).filter(Boolean), lines);
  });
}

test("a phase is said in words, an unknown one by its name", () => {
  assert.equal(phaseInWords(undefined), "Scanning");
  assert.equal(phaseInWords("collecting_packages"), "Collecting packages");
  assert.equal(phaseInWords("reading_tea_leaves"), "Reading tea leaves");
});

const NO_COUNTS = { vulnerabilities: null, critical: null, high: null, medium: null, low: null, unknown: null };
/** @type {[string, RunStatus, ResultData, string][]} */
const HEADLINES = [
  ["an assessed host with findings", "success", { verdict: "assessed", vulnerabilities: 9 }, "9 vulnerabilities"],
  ["a single finding", "success", { verdict: "assessed", vulnerabilities: 1 }, "1 vulnerability"],
  ["an assessed host without findings", "success", { verdict: "assessed", vulnerabilities: 0 }, "No known vulnerabilities"],
  ["a host that was not assessed", "success", { verdict: "not_assessed", ...NO_COUNTS }, "Not assessed"],
  ["a zero that nobody assessed", "success", { verdict: "not_assessed", vulnerabilities: 0 }, "Not assessed"],
  ["a failed run", "failed", { verdict: "failed", ...NO_COUNTS }, "Failed"],
  ["a failed run without data", "failed", {}, "Failed"],
  ["a failed run with counts", "failed", { verdict: "assessed", vulnerabilities: 0 }, "Failed"],
  ["a cancelled run", "cancelled", {}, "Cancelled"],
  ["a message that somebody sent", "success", {}, "Finished"],
  ["a connection test that worked", "success", { kind: "check" }, "Connection works"],
  ["a connection test that failed", "failed", { kind: "check", verdict: "failed", ...NO_COUNTS }, "Failed"],
  ["an assessed run without numbers", "success", { verdict: "assessed", ...NO_COUNTS }, "Finished"],
];
for (const [name, status, result, words] of HEADLINES) {
  test(`${name} reads "${words}"`, () => assert.equal(headline(status, result), words));
}

test("severity counts are shown for assessed hosts only, worst first", () => {
  assert.deepEqual(counts({ verdict: "not_assessed", critical: 3 }), []);
  assert.deepEqual(counts({ verdict: "assessed", low: 4, critical: 1, high: 0 }), [
    { severity: "critical", count: 1 },
    { severity: "low", count: 4 },
  ]);
});

test("a run without counts always says why", () => {
  const reason = { code: "database_missing", sentence: "The database is missing." };
  assert.equal(explanation("success", { verdict: "not_assessed", reason }), reason.sentence);
  assert.notEqual(explanation("success", { verdict: "not_assessed" }), "");
  assert.notEqual(explanation("failed", {}), "");
  assert.equal(explanation("success", { verdict: "assessed", vulnerabilities: 9 }), "");
  assert.equal(outcome("success", { verdict: "assessed", vulnerabilities: 9 }), "found");
});

/**
 * @param {number} total
 * @param {number} critical
 * @returns {ChangeCounts}
 */
const changed = (total, critical = 0) => ({ total, critical, high: total - critical, medium: 0, low: 0, unknown: 0, cve_ids: [] });
/** @type {FindingsChanged} */
const NOTHING = {
  host_id: 3,
  host_name: "web-1",
  scan_id: 23,
  task_run_id: 15,
  new: changed(0),
  fixed: changed(0),
  severity_changed: changed(0),
  reappeared: changed(0),
  timestamp: "2026-01-01T00:00:00",
};

/** @type {[Partial<FindingsChanged>, string, boolean][]} */
const CHANGES = [
  [{ new: changed(2, 1), fixed: changed(1) }, "2 new (1 critical), 1 fixed", false],
  [{ fixed: changed(3, 3) }, "3 fixed (3 critical)", true],
  [{ severity_changed: changed(4) }, "4 changed in severity", false],
  [{ reappeared: changed(1), fixed: changed(1) }, "1 reappeared, 1 fixed", false],
];
for (const [some, words, good] of CHANGES) {
  test(`changed findings read "${words}"`, () => {
    assert.equal(changesInWords({ ...NOTHING, ...some }), words);
    assert.equal(onlyFixed({ ...NOTHING, ...some }), good);
  });
}
