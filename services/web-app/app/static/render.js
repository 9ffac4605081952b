/** Draws the state: tasks, running jobs, recent activity. */

import { el, icon, need, reconcile, timeElement } from "./dom.js";
import { resultView } from "./result.js";
import { scanHostCells } from "./scan_hosts.js";
import { scheduleInWords } from "./schedule.js";
import { duration, parseTime } from "./time.js";
import { outcome, phaseInWords } from "./verdict.js";

/** @import { RunLogs } from "./run_log.js" */
/** @import { Host, Overview, Run, Task } from "./types.js" */

/**
 * What the page shows besides its state.
 *
 * @typedef {object} Doing
 * @property {ReadonlySet<number>} starting  tasks whose run was asked for and not yet answered
 * @property {ReadonlySet<number>} cancelling  runs whose end was asked for and not yet answered
 * @property {ReadonlySet<string>} asking  what was asked for a host and not yet answered, as `askingKey` names it
 * @property {ReadonlySet<number>} switching  tasks that are being paused or resumed
 * @property {RunLogs} logs
 */

/**
 * Bring the page to a state.
 *
 * @param {Overview} state
 * @param {Doing} doing
 */
export function render(state, { starting, cancelling, asking, switching, logs }) {
  renderUser(state);
  renderTasks(state, starting, asking, switching);
  renderIdleHosts(state, asking);
  renderRunning(state, cancelling, logs);
  need("recent-note", HTMLElement).hidden = state.recent.length === 0;
  fill("recent", state.recent, (run) => ({ key: String(run.id), sign: run, make: () => recentRow(run) }));
  fill("scan-hosts", state.scan_hosts ?? [], (host) => ({
    key: `${host.zone}/${host.name}`,
    sign: host.state === "silent" ? host : { ...host, seen_at: null },
    make: () => el("tr", { role: "row", "data-scan-host": host.name, "data-state": host.state }, ...scanHostCells(host, cell)),
  }));
}

/** @param {Overview} state */
function renderUser({ user }) {
  const viewer = user.role === "viewer";
  need("user-name", HTMLElement).textContent = user.name;
  need("user-role", HTMLElement).textContent = user.role;
  need("role-note", HTMLElement).hidden = !viewer;
  need("new-task", HTMLElement).hidden = viewer;
}

/**
 * @param {Overview} state
 * @param {ReadonlySet<number>} starting
 * @param {ReadonlySet<string>} asking
 * @param {ReadonlySet<number>} switching
 */
function renderTasks(state, starting, asking, switching) {
  const active = new Set(state.running.map((run) => run.task_id));
  const open = new Set(state.running.map((run) => askingKey(run.kind ?? "scan", run.host_id)));
  const viewer = state.user.role === "viewer";
  need("tasks-empty", HTMLElement).textContent = viewer
    ? "No task scans a host that you may see. Ask an administrator for access to a group of hosts."
    : state.hosts.length === 0
      ? "There is no host to scan yet. Hosts are added by the deployment."
      : "No task yet. Create one with “New task”.";
  fill("tasks", state.tasks, (task) => {
    const button = viewer ? "viewer" : starting.has(task.id) ? "starting" : active.has(task.id) ? "running" : "ready";
    const busy = HOST_ACTIONS.map(({ kind }) => askingKey(kind, task.host_id)).map((key) => asking.has(key) || open.has(key));
    const turning = switching.has(task.id);
    return { key: String(task.id), sign: [task, button, busy, turning], make: () => taskRow(task, button, busy, turning) };
  });
}

/**
 * The hosts that nothing scans by itself: they were registered without a task, or their task was deleted.
 *
 * @param {Overview} state
 * @param {ReadonlySet<string>} asking
 */
function renderIdleHosts(state, asking) {
  const scanned = new Set(state.tasks.map((task) => task.host_id));
  const open = new Set(state.running.map((run) => askingKey(run.kind ?? "scan", run.host_id)));
  const idle = state.hosts.filter((host) => !scanned.has(host.id));
  const viewer = state.user.role === "viewer";
  need("idle-hosts-card", HTMLElement).hidden = idle.length === 0;
  fill("idle-hosts", idle, (host) => {
    const busy = asking.has(askingKey("check", host.id)) || open.has(askingKey("check", host.id));
    return { key: String(host.id), sign: [host, busy, viewer], make: () => idleHostRow(host, busy, viewer) };
  });
}

/**
 * @param {Host} host
 * @param {boolean} busy whether its connection is being tested
 * @param {boolean} viewer
 */
function idleHostRow(host, busy, viewer) {
  const check = el(
    "button",
    {
      class: "button quiet-button",
      type: "button",
      "data-action": "check",
      "aria-disabled": busy ? "true" : null,
      title: busy ? "This is under way." : "Try whether the host can be scanned, without scanning it.",
    },
    "Test connection",
    el("span", { class: "visually-hidden" }, ` (host ${host.name})${busy ? ". This is under way." : ""}`),
  );
  const add = el(
    "button",
    { class: "button", type: "button", "data-action": "new-task" },
    icon("plus"),
    "New task",
    el("span", { class: "visually-hidden" }, ` for ${host.name}`),
  );
  return el(
    "tr",
    { role: "row", "data-host-id": String(host.id) },
    cell("Host", "main", el("span", { class: "name" }, host.name)),
    cell("Zone", "host", host.zone ?? "–"),
    cell("", "action", viewer ? null : el("div", { class: "actions" }, check, add)),
  );
}

/**
 * Fill a table, or show its sentence for emptiness instead.
 *
 * @template T
 * @param {string} id
 * @param {readonly T[]} items
 * @param {(item: T) => { key: string, sign: unknown, make: () => HTMLElement }} view
 */
function fill(id, items, view) {
  const table = need(id, HTMLTableElement);
  const body = table.tBodies[0];
  if (!body) throw new Error(`The table #${id} has no body`);
  reconcile(body, items, view);
  table.hidden = items.length === 0;
  need(`${id}-empty`, HTMLElement).hidden = items.length > 0;
}

/**
 * @param {Task} task
 * @param {"viewer" | "starting" | "running" | "ready"} button
 * @param {readonly boolean[]} busy which of the host's actions are under way
 * @param {boolean} turning whether it is being paused or resumed
 */
function taskRow(task, button, busy, turning) {
  const zone = task.cron ? el("span", { class: "quiet zone" }, task.timezone) : null;
  const last = task.last_run;
  return el(
    "tr",
    { role: "row", "data-task-id": String(task.id) },
    cell("Task", "main", el("span", { class: "name" }, task.name)),
    cell("Host", "host", task.host_name),
    cell("Schedule", "schedule", el("span", { title: task.cron ? `Cron: ${task.cron}` : null }, scheduleInWords(task.cron)), zone, timeLimit(task)),
    cell("Next due", "due", nextDue(task)),
    cell(
      "Last result",
      "result-cell",
      last ? resultView(last.status, last.result_data) : el("span", { class: "quiet" }, "Not run yet"),
      last?.finished_at && el("span", { class: "quiet" }, timeElement(last.finished_at)),
    ),
    cell("", "action", el("div", { class: "task-actions" }, runButton(task, button), ...(button === "viewer" ? [] : [...hostButtons(task, busy), switchButton(task, turning)]))),
  );
}

/** @param {Task} task */
function timeLimit({ time_limit_minutes: minutes }) {
  return typeof minutes === "number" && el("span", { class: "quiet zone" }, `At most ${minutes} min`);
}

/** @param {Task} task */
function nextDue(task) {
  if (!task.enabled) return el("span", { class: "tag" }, "Paused");
  return task.next_due_at ? timeElement(task.next_due_at) : el("span", { class: "quiet" }, "–");
}

/**
 * @param {Task} task
 * @param {"viewer" | "starting" | "running" | "ready"} state
 */
function runButton(task, state) {
  const words = { viewer: "Run", starting: "Starting", running: "Running", ready: "Run" }[state];
  const reason = {
    viewer: "Your role is viewer: operators and administrators may run tasks.",
    starting: null,
    running: "This task is running now.",
    ready: null,
  }[state];
  return el(
    "button",
    {
      class: "button run",
      type: "button",
      "data-action": "run",
      "aria-disabled": state === "ready" ? null : "true",
      title: reason,
    },
    state === "ready" || state === "viewer" ? icon("play") : el("span", { class: "spinner", "aria-hidden": "true" }),
    words,
    el("span", { class: "visually-hidden" }, ` ${task.name}`),
    reason && el("span", { class: "visually-hidden" }, `. ${reason}`),
  );
}

/** What can be asked for a host, besides a scan. */
const HOST_ACTIONS = /** @type {const} */ ([
  { kind: "check", words: "Test connection", title: "Try whether the host can be scanned, without scanning it." },
  { kind: "reassess", words: "Assess again", title: "Match the packages of the last scan with the vulnerability database of now." },
]);

/**
 * How something that was asked for a host is named in `Doing.asking`.
 *
 * @param {string} kind
 * @param {number} hostId
 */
export function askingKey(kind, hostId) {
  return `${kind} ${hostId}`;
}

/**
 * @param {Task} task
 * @param {readonly boolean[]} busy
 */
function hostButtons(task, busy) {
  return HOST_ACTIONS.map(({ kind, words, title }, place) =>
    el(
      "button",
      {
        class: "button quiet-button",
        type: "button",
        "data-action": kind,
        "aria-disabled": busy[place] ? "true" : null,
        title: busy[place] ? "This is under way." : title,
      },
      words,
      el("span", { class: "visually-hidden" }, ` (${task.name}, host ${task.host_name})${busy[place] ? ". This is under way." : ""}`),
    ),
  );
}

/**
 * A task without a schedule does nothing by itself, so it is not paused, but it comes back when it was switched off with its host.
 *
 * @param {Task} task
 * @param {boolean} turning
 */
function switchButton(task, turning) {
  if (!task.cron && task.enabled) return null;
  return el(
    "button",
    {
      class: "button quiet-button",
      type: "button",
      "data-action": "switch",
      "aria-disabled": turning ? "true" : null,
      title: task.enabled ? "Stop the schedule; “Run” works all the same." : task.cron ? "Run by the schedule again." : "Not switched off any more.",
    },
    task.enabled ? "Pause" : "Resume",
    el("span", { class: "visually-hidden" }, ` ${task.name}`),
  );
}

/**
 * @param {Overview} state
 * @param {ReadonlySet<number>} cancelling
 * @param {RunLogs} logs
 */
function renderRunning(state, cancelling, logs) {
  const viewer = state.user.role === "viewer";
  logs.keep(new Set(state.running.map((run) => run.id)));
  const rows = state.running.flatMap((run) => (logs.isOpen(run.id) ? [{ run }, { run, log: true }] : [{ run }]));
  fill("running", rows, ({ run, log }) => {
    if (log) return { key: `log-${run.id}`, sign: run.id, make: () => logRow(run, logs) };
    const open = logs.isOpen(run.id);
    const button = viewer ? "viewer" : cancelling.has(run.id) ? "cancelling" : "ready";
    // Without what changes twice a second: a row that is drawn anew under the pointer loses the click.
    const sign = [{ ...run, phase: null, percent: null }, open, button];
    return { key: String(run.id), sign, make: () => runningRow(run, open, button) };
  });
  for (const run of state.running) showProgress(run);
}

/**
 * Bring the phase and the share of a running scan up to date, in the row that is there.
 *
 * @param {Run} run
 */
function showProgress(run) {
  const row = document.querySelector(`#running [data-run-id="${run.id}"][data-status="started"]`);
  const phase = row?.querySelector(".phase");
  if (!row || !phase) return;
  const words = phaseInWords(run.phase);
  if (phase.textContent !== words) phase.textContent = words;
  const bar = row.querySelector(".progress");
  if (bar?.getAttribute("data-percent") === String(run.percent)) return;
  const fresh = progressBar(run);
  if (bar && fresh) bar.replaceWith(fresh);
  else if (fresh) phase.parentElement?.after(fresh);
  else bar?.remove();
}

/**
 * @param {Run} run
 * @param {RunLogs} logs
 */
function logRow(run, logs) {
  const content = el("td", { role: "cell", colspan: "5", class: "log-cell" }, logs.view(run.id, run.task_name));
  return el("tr", { role: "row", id: `log-${run.id}` }, content);
}

/**
 * @param {Run} run
 * @param {boolean} open whether its log is shown
 */
function logButton(run, open) {
  return el(
    "button",
    {
      class: "button",
      type: "button",
      "data-action": "log",
      "aria-expanded": String(open),
      "aria-controls": open ? `log-${run.id}` : null,
    },
    "Log",
    el("span", { class: "visually-hidden" }, ` of ${run.task_name}`),
  );
}

/**
 * @param {Run} run
 * @param {"viewer" | "cancelling" | "ready"} state
 */
function cancelButton(run, state) {
  if (state === "viewer") return null;
  const waiting = state === "cancelling";
  return el(
    "button",
    { class: "button", type: "button", "data-action": "cancel", "aria-disabled": waiting ? "true" : null },
    waiting ? el("span", { class: "spinner", "aria-hidden": "true" }) : icon("close"),
    waiting ? "Cancelling" : "Cancel",
    el("span", { class: "visually-hidden" }, ` ${run.task_name}`),
  );
}

/**
 * @param {Run} run
 * @param {boolean} open whether its log is shown
 * @param {"viewer" | "cancelling" | "ready"} button
 */
function runningRow(run, open, button) {
  const started = run.status === "started";
  return el(
    "tr",
    { role: "row", "data-run-id": String(run.id), "data-status": run.status },
    cell("Task", "main", el("span", { class: "name" }, run.task_name)),
    cell("Host", "host", run.host_name),
    cell(
      "State",
      "state",
      el(
        "span",
        { class: "verdict calm" },
        started ? el("span", { class: "spinner", "aria-hidden": "true" }) : icon("polling"),
        started ? el("span", { class: "phase" }, phaseInWords(run.phase)) : "Queued",
      ),
      started && progressBar(run),
    ),
    cell("Elapsed", "number", timeElement((started && run.started_at) || run.created_at, "elapsed")),
    cell("", "action", el("div", { class: "actions" }, started && logButton(run, open), cancelButton(run, button))),
  );
}

/**
 * Only with a share: a bar that says nothing is left out.
 *
 * @param {Run} run
 */
function progressBar({ task_name, percent }) {
  if (percent === null || percent === undefined) return null;
  const value = String(percent);
  return el(
    "div",
    { class: "progress", "data-percent": value },
    el("progress", { max: "100", value, "aria-label": `Progress of ${task_name}` }),
    el("span", { class: "quiet" }, `${value} %`),
  );
}

/** @param {Run} run */
function recentRow(run) {
  const took = run.started_at && run.finished_at ? parseTime(run.finished_at) - parseTime(run.started_at) : NaN;
  return el(
    "tr",
    { role: "row", id: `row-${run.id}`, "data-run-id": String(run.id), "data-status": run.status },
    cell("Ended", "ended", run.finished_at ? timeElement(run.finished_at) : "–"),
    cell("Task", "main", el("span", { class: "name" }, run.task_name)),
    cell("Host", "host", run.host_name),
    cell("Result", "result-cell", resultView(run.status, run.result_data)),
    cell("Took", "number", Number.isNaN(took) ? el("span", { class: "quiet" }, "–") : duration(took)),
    cell("", "action", detailsLink(run)),
  );
}

/** @param {Run} run */
function detailsLink(run) {
  return el(
    "a",
    { class: "button", href: `#run-${run.id}`, "data-action": "findings" },
    outcome(run.status, run.result_data) === "found" ? "Findings" : "Details",
    el("span", { class: "visually-hidden" }, ` of ${run.task_name}, run ${run.id}`),
  );
}

/**
 * A cell that knows its column's name, for screens where rows become cards.
 *
 * @param {string} label
 * @param {string} kind
 * @param {...import("./dom.js").Child} children
 */
function cell(label, kind, ...children) {
  return el("td", { role: "cell", class: kind, "data-label": label || null }, ...children);
}
