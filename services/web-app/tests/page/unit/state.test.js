import assert from "node:assert/strict";
import { test } from "node:test";

import { RECENT_LIMIT, reduce } from "../../../app/static/state.js";

/** @import { Overview, ProgressEvent, Run, RunStatus, Task, TaskEvent } from "../../../app/static/types.js" */

/** @type {Task} */
const TASK = {
  id: 1,
  name: "Scan a",
  host_id: 1,
  host_name: "a",
  scan_type: "fast",
  cron: null,
  timezone: "UTC",
  enabled: true,
  next_due_at: null,
  last_run: null,
};

/** @type {Overview} */
const EMPTY = {
  cursor: "e-1",
  user: { id: 1, name: "anna", role: "operator" },
  hosts: [{ id: 1, name: "a" }],
  tasks: [TASK],
  running: [],
  recent: [],
  scan_hosts: [],
};

/**
 * @param {RunStatus} status
 * @param {Partial<TaskEvent["data"]>} [data]
 * @param {string} [id]
 * @returns {TaskEvent}
 */
function update(status, data = {}, id = "e-2") {
  return {
    type: "task_update",
    id,
    data: {
      task_id: 1,
      task_run_id: 15,
      status,
      task_name: "Scan a",
      result_data: {},
      timestamp: "2025-06-27T15:49:26.760966",
      host_id: 1,
      host_name: "a",
      ...data,
    },
  };
}

test("a task that was changed keeps its last result", () => {
  const run = /** @type {Run} */ ({ id: 7, status: "success" });
  const state = { ...EMPTY, tasks: [{ ...TASK, last_run: run }, { ...TASK, id: 2 }] };
  const { last_run: _, ...changed } = { ...TASK, enabled: false };
  assert.deepEqual(reduce(state, { type: "task_changed", task: changed }).tasks, [
    { ...TASK, enabled: false, last_run: run },
    { ...TASK, id: 2 },
  ]);
});

/**
 * @param {Overview} state
 * @param {...TaskEvent} events
 */
function after(state, ...events) {
  return events.reduce((now, event) => reduce(now, { type: "event", event }), state);
}

test("a run is queued, starts, ends, and is in one list at a time", () => {
  const queued = after(EMPTY, update("queued"));
  assert.deepEqual([queued.running.length, queued.recent.length, queued.running[0]?.status], [1, 0, "queued"]);
  const started = after(queued, update("started"));
  assert.deepEqual([started.running.length, started.recent.length, started.running[0]?.status], [1, 0, "started"]);
  const ended = after(started, update("success", { result_data: { verdict: "assessed", vulnerabilities: 9 } }));
  assert.deepEqual([ended.running.length, ended.recent.length], [0, 1]);
  assert.equal(ended.recent[0]?.result_data.vulnerabilities, 9);
});

test("a run keeps the times at which it was queued and started", () => {
  const run = after(
    EMPTY,
    update("queued", { timestamp: "2025-01-01T00:00:01" }),
    update("started", { timestamp: "2025-01-01T00:00:02" }),
    update("failed", { timestamp: "2025-01-01T00:00:03" }),
  ).recent[0];
  assert.equal(run?.created_at, "2025-01-01T00:00:01Z");
  assert.equal(run?.started_at, "2025-01-01T00:00:02Z");
  assert.equal(run?.finished_at, "2025-01-01T00:00:03Z");
});

test("a new attempt of a finished run leaves recent activity and forgets the old end", () => {
  const again = after(EMPTY, update("started"), update("failed"), update("queued"));
  assert.equal(again.recent.length, 0);
  assert.equal(again.running[0]?.started_at, null);
  assert.equal(again.running[0]?.finished_at, null);
});

test("the end of a run becomes its task's last result", () => {
  assert.equal(after(EMPTY, update("failed")).tasks[0]?.last_run?.status, "failed");
});

test("packages that were assessed anew are the last result of their host's tasks, after a scan that brought them", () => {
  /** @param {Partial<TaskEvent["data"]>} [data] */
  const anew = (data) =>
    update("success", { task_id: 0, task_run_id: 16, kind: "reassess", timestamp: "2025-06-27T16:00:00", ...data }, "e-3");
  /** @param {...TaskEvent} events */
  const shown = (...events) => after(EMPTY, ...events).tasks[0]?.last_run?.id;
  assert.equal(shown(update("success"), anew()), 16);
  assert.equal(shown(update("success"), anew({ host_id: 2 })), 15);
  assert.equal(shown(update("success"), anew({ status: "failed" })), 15);
  assert.equal(shown(update("success"), anew({ kind: "check" })), 15);
  assert.equal(shown(update("success"), anew({ timestamp: "2025-06-27T15:00:00" })), 15);
  assert.equal(shown(update("failed"), anew()), 15);
  assert.equal(shown(anew()), undefined);
});

test("an ad-hoc run is shown and touches no task", () => {
  const state = after(EMPTY, update("success", { task_id: 0 }));
  assert.equal(state.recent.length, 1);
  assert.equal(state.tasks[0]?.last_run, null);
});

test("recent activity is newest first and holds at most its limit", () => {
  let state = EMPTY;
  for (let run = 1; run <= RECENT_LIMIT + 5; run += 1) state = after(state, update("success", { task_run_id: run }));
  assert.equal(state.recent.length, RECENT_LIMIT);
  assert.equal(state.recent[0]?.id, RECENT_LIMIT + 5);
});

test("running jobs are in the order in which a reload shows them", () => {
  const state = after(EMPTY, update("queued", { task_run_id: 7 }), update("queued", { task_run_id: 5 }));
  assert.deepEqual(
    state.running.map((run) => run.id),
    [5, 7],
  );
});

for (const [name, event] of /** @type {[string, any][]} */ ([
  ["an event of no host", update("success", { host_id: null })],
  ["an event without an id", { ...update("success"), id: undefined }],
  ["an unknown type", { type: "notice", id: "e-2", data: {} }],
  ["an event without data", { type: "task_update", id: "e-2", data: null }],
])) {
  test(`${name} changes no list`, () => {
    assert.equal(reduce(EMPTY, { type: "event", event }), EMPTY);
  });
}

/** @type {Run} */
const ACCEPTED = {
  id: 15,
  task_id: 1,
  task_name: "Scan a",
  host_id: 1,
  host_name: "a",
  status: "queued",
  created_at: "2025-01-01T00:00:00Z",
  started_at: null,
  finished_at: null,
  result_data: {},
};

test("the answer to a click shows the run at once", () => {
  assert.deepEqual(reduce(EMPTY, { type: "run_accepted", run: ACCEPTED }).running, [ACCEPTED]);
});

test("the answer to a click that comes after the run's end does not bring it back", () => {
  const ended = after(EMPTY, update("success"));
  assert.equal(reduce(ended, { type: "run_accepted", run: ACCEPTED }), ended);
});

test("a list of tasks that was read before a run ended does not take its result back", () => {
  const ended = after(EMPTY, update("success"));
  const state = reduce(ended, { type: "tasks_loaded", tasks: [{ ...TASK, next_due_at: "2026-01-01T00:00:00Z" }] });
  assert.equal(state.tasks[0]?.last_run?.status, "success");
  assert.equal(state.tasks[0]?.next_due_at, "2026-01-01T00:00:00Z");
});

test("a created task is added once", () => {
  const task = { ...TASK, id: 2 };
  const state = reduce(reduce(EMPTY, { type: "task_created", task }), { type: "task_created", task });
  assert.equal(state.tasks.length, 2);
});

/**
 * @param {string} phase
 * @param {number | null} [percent]
 * @returns {ProgressEvent}
 */
function progress(phase, percent) {
  const data = { task_id: 1, task_run_id: 15, task_name: "Scan a", phase, timestamp: "2025-06-27T15:49:27" };
  return { type: "task_progress", id: "e-3", data: percent === undefined ? data : { ...data, percent } };
}

test("the latest progress of a running task is kept, until the run changes its state", () => {
  let state = after(EMPTY, update("started"));
  for (const event of [progress("connecting"), progress("matching", 40)]) state = reduce(state, { type: "event", event });
  assert.deepEqual([state.running[0]?.phase, state.running[0]?.percent], ["matching", 40]);
  assert.equal(after(state, update("queued", { timestamp: "2025-06-27T15:49:28" })).running[0]?.phase, undefined);
  const run = { ...ACCEPTED, status: /** @type {const} */ ("started"), phase: "matched", percent: 95 };
  state = reduce(state, { type: "loaded", overview: { ...EMPTY, running: [run] } });
  assert.deepEqual(state.running, [run]);
  state = reduce(state, { type: "event", event: progress("matched") });
  assert.equal(state.running[0]?.percent, null);
});

test("a run that was cancelled here has ended, and its event changes nothing more to see", () => {
  const started = after(EMPTY, update("started"));
  const [run] = started.running;
  assert.ok(run);
  const ended = { ...run, status: /** @type {const} */ ("cancelled"), finished_at: "2025-06-27T15:49:28.000001Z" };
  const state = reduce(started, { type: "run_cancelled", run: ended });
  assert.deepEqual([state.running, state.recent], [[], [ended]]);
  assert.equal(reduce(state, { type: "run_cancelled", run: ended }), state);
  const told = after(state, update("cancelled", { timestamp: "2025-06-27T15:49:28.000002" }));
  assert.deepEqual([told.running, told.recent.map((other) => [other.id, other.status])], [[], [[run.id, "cancelled"]]]);
});

for (const [name, state] of /** @type {[string, Overview][]} */ ([
  ["unknown", EMPTY],
  ["finished", after(EMPTY, update("success"))],
])) {
  test(`progress of a run that is ${name} changes no list`, () => {
    assert.equal(reduce(state, { type: "event", event: progress("connecting") }), state);
  });
}

test("events that a list which was loaded meanwhile knows already change nothing", () => {
  const end = update("success", { timestamp: "2025-06-27T15:49:30.123456" });
  const loaded = after(EMPTY, update("started"), end, update("success", { task_run_id: 16, timestamp: "2025-06-27T15:49:31" }));
  assert.equal(after(loaded, update("queued"), update("started"), end), loaded);
});

test("a digest changes no list by itself", () => {
  const event = { type: "digest", id: "e-9", data: { since: "e-2", events: 7 } };
  assert.equal(reduce(EMPTY, { type: "event", event }), EMPTY);
});

test("the scan hosts that were asked for anew replace those shown", () => {
  /** @type {import("../../../app/static/types.js").ScanHost} */
  const host = { name: "scan-1", zone: "default", state: "ok", seen_at: "2025-06-27T15:49:26Z", database: null };
  const state = reduce({ ...EMPTY, scan_hosts: [host] }, { type: "scan_hosts_loaded", scanHosts: [{ ...host, state: "silent" }] });
  assert.deepEqual(state.scan_hosts, [{ ...host, state: "silent" }]);
});
