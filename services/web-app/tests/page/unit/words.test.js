import assert from "node:assert/strict";
import { test } from "node:test";

import { backoff, CAP } from "../../../app/static/backoff.js";
import { statusText } from "../../../app/static/connection.js";
import { safeNext } from "../../../app/static/paths.js";
import { scheduleInWords } from "../../../app/static/schedule.js";
import { ago, duration, parseTime } from "../../../app/static/time.js";
import { counts, explanation, headline, outcome } from "../../../app/static/verdict.js";

/** @import { ResultData, RunStatus } from "../../../app/static/types.js" */

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

test("the connection's state counts down in words", () => {
  assert.equal(statusText({ kind: "reconnecting", retryAt: 3200 }, 0), "Reconnecting in 4 s");
  assert.equal(statusText({ kind: "reconnecting", retryAt: 0 }, 0), "Reconnecting");
  assert.equal(statusText({ kind: "polling", why: "socket" }, 0), "Polling every 30 s");
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
