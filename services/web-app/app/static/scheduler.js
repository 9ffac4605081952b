/** The scheduler page: puts state, feed, toasts and dialogs together. */

import { ApiError, get, patch, post } from "./api.js";
import { ConnectionView } from "./connection.js";
import { DigestDialog } from "./digest.js";
import { el, need, tick } from "./dom.js";
import { Feed } from "./feed.js";
import { FindingsDialog } from "./findings.js";
import { Refresher } from "./refresh.js";
import { askingKey, render } from "./render.js";
import { RunLogs } from "./run_log.js";
import { isDigest, isFinal, isFindingsChanged, isRunEvent, isTaskUpdate, reduce } from "./state.js";
import { TaskForm } from "./task_form.js";
import { parseTime } from "./time.js";
import { Toasts } from "./toasts.js";

/** @import { Envelope, Overview, Task } from "./types.js" */
/** @import { Action } from "./state.js" */
/** @import { Status } from "./feed.js" */

const TASKS_REFRESH = 30_000;
/** No event tells of scan hosts; spread, so that pages do not ask at once. */
const SCAN_HOSTS_REFRESH = 60_000 + Math.random() * 30_000;
/** A due time may be this long ago before the page asks for the next one; spread, so that pages do not ask at once. */
const DUE_GRACE = 3000 + Math.random() * 5000;

/** @type {Overview} */
let state = JSON.parse(need("state", HTMLScriptElement).text);
/** @type {Set<number>} */
const starting = new Set();
/** @type {Set<number>} */
const cancelling = new Set();
/** @type {Set<string>} */
const asking = new Set();
/** Tasks that are being paused or resumed. @type {Set<number>} */
const switching = new Set();
const logs = new RunLogs();
const doing = { starting, cancelling, asking, switching, logs };
let tasksLoadedAt = Date.now();
let scanHostsLoadedAt = Date.now();
/** What happens while everything is asked for anew: the answer may be older. @type {Action[] | null} */
let meanwhile = null;

const connection = new ConnectionView();
const toasts = new Toasts(need("toasts", HTMLElement));
const findings = new FindingsDialog((id) => state.recent.find((run) => run.id === id));
const taskForm = new TaskForm((task) => {
  dispatch({ type: "task_created", task });
  toasts.showSuccess("Task created", `${task.name} scans ${task.host_name}.`);
});
const digests = new DigestDialog();
const lists = new Refresher(reload);
const feed = new Feed({ cursor: state.cursor, onEvent: receive, onStatus: showStatus, onResync: reload, openSocket });

/** @param {Action} action */
function dispatch(action) {
  meanwhile?.push(action);
  state = reduce(state, action);
  render(state, doing);
}

/** @param {Envelope} event */
function receive(event) {
  if (isDigest(event)) {
    toasts.showDigest(event);
    lists.ask();
  }
  if (isFindingsChanged(event)) toasts.showChanges(event);
  if (isTaskUpdate(event) && (isFinal(event.data.status) || !isRunEvent(event))) toasts.showUpdate(event);
  dispatch({ type: "event", event });
}

/** @param {Status} status */
function showStatus(status) {
  connection.show(status);
  if (status.kind !== "signed_out") return;
  const banner = need("banner", HTMLElement);
  banner.replaceChildren(
    "You are signed out, so this page is no longer up to date. ",
    el("a", { class: "link", href: `/login?next=${encodeURIComponent(location.pathname + location.hash)}` }, "Sign in again"),
  );
  banner.hidden = false;
}

async function reload() {
  /** @type {Action[]} */
  const since = [];
  meanwhile = since;
  const overview = await get("/api/overview");
  // The answer to a later question is on its way otherwise, and knows more.
  if (meanwhile === since) {
    meanwhile = null;
    state = since.reduce(reduce, reduce(state, { type: "loaded", overview }));
    render(state, doing);
  }
  return overview.cursor;
}

/** @param {string} path */
function openSocket(path) {
  const socket = new WebSocket(new URL(path, location.href.replace(/^http/, "ws")));
  Object.assign(window, { ws: socket });
  return socket;
}

/** @param {number} taskId */
async function run(taskId) {
  const task = state.tasks.find((one) => one.id === taskId);
  if (!task || starting.has(taskId)) return;
  starting.add(taskId);
  render(state, doing);
  try {
    const accepted = await post(`/api/scheduled-tasks/${taskId}/run`);
    starting.delete(taskId);
    dispatch({ type: "run_accepted", run: accepted });
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    starting.delete(taskId);
    render(state, doing);
    toasts.showProblem(`${task.name} was not started`, error.message);
  }
}

/**
 * Pause a task, or resume it.
 *
 * @param {number} taskId
 */
async function switchTask(taskId) {
  const task = state.tasks.find((one) => one.id === taskId);
  if (!task || switching.has(taskId)) return;
  switching.add(taskId);
  render(state, doing);
  try {
    const changed = await patch(`/api/scheduled-tasks/${taskId}`, { enabled: !task.enabled });
    switching.delete(taskId);
    dispatch({ type: "task_changed", task: changed });
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    switching.delete(taskId);
    render(state, doing);
    toasts.showProblem(`${task.name} was not ${task.enabled ? "paused" : "resumed"}`, error.message);
  }
}

/**
 * Ask for something other than a scan of a host.
 *
 * @param {"check" | "reassess"} kind
 * @param {number} hostId
 */
async function ask(kind, hostId) {
  const hostName = state.hosts.find((one) => one.id === hostId)?.name ?? `Host ${hostId}`;
  const key = askingKey(kind, hostId);
  if (asking.has(key)) return;
  asking.add(key);
  render(state, doing);
  try {
    const accepted = await post(`/api/hosts/${hostId}/${kind}`);
    asking.delete(key);
    dispatch({ type: "run_accepted", run: accepted });
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    asking.delete(key);
    render(state, doing);
    toasts.showProblem(kind === "check" ? `The connection to ${hostName} was not tested` : `${hostName} was not assessed again`, error.message);
  }
}

/** @param {number} runId */
async function cancel(runId) {
  const run = state.running.find((one) => one.id === runId);
  if (!run || cancelling.has(runId)) return;
  cancelling.add(runId);
  render(state, doing);
  try {
    const cancelled = await post(`/api/runs/${runId}/cancel`);
    cancelling.delete(runId);
    dispatch({ type: "run_cancelled", run: cancelled });
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    cancelling.delete(runId);
    render(state, doing);
    toasts.showProblem(`${run.task_name} was not cancelled`, error.message);
  }
}

/** @param {number} runId */
function toggleLog(runId) {
  logs.toggle(runId);
  render(state, doing);
}

async function signOut() {
  try {
    await post("/api/auth/logout");
    feed.stop();
    location.assign("/login");
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    toasts.showProblem("Not signed out", error.message);
  }
}

/** Ask for the next due times once one of those shown has passed. */
async function refreshDueTimes() {
  const now = Date.now();
  const passed = state.tasks.some((task) => task.enabled && task.next_due_at && parseTime(task.next_due_at) + DUE_GRACE < now);
  if (!passed || document.hidden || now - tasksLoadedAt < TASKS_REFRESH || feed.status.kind === "signed_out") return;
  tasksLoadedAt = now;
  try {
    dispatch({ type: "tasks_loaded", tasks: await loadTasks() });
  } catch (error) {
    if (!(error instanceof ApiError)) throw error; // The connection's state tells of it already.
  }
}

/** Ask how the scan hosts are, now and then while somebody looks. */
async function refreshScanHosts() {
  const now = Date.now();
  if (document.hidden || now - scanHostsLoadedAt < SCAN_HOSTS_REFRESH || feed.status.kind === "signed_out") return;
  scanHostsLoadedAt = now;
  try {
    dispatch({ type: "scan_hosts_loaded", scanHosts: (await get("/api/scan-hosts")).items });
  } catch (error) {
    if (!(error instanceof ApiError)) throw error; // The connection's state tells of it already.
  }
}

async function loadTasks() {
  /** @type {Task[]} */
  const tasks = [];
  /** @type {string | null} */
  let after = null;
  do {
    const page = await get(`/api/scheduled-tasks?limit=100${after === null ? "" : `&after=${encodeURIComponent(after)}`}`);
    tasks.push(...page.items);
    after = page.next;
  } while (after !== null);
  return tasks;
}

need("tasks", HTMLElement).addEventListener("click", (event) => {
  const button = /** @type {Element} */ (event.target).closest("[data-action]");
  const row = button?.closest("[data-task-id]");
  if (!(button instanceof HTMLElement) || !(row instanceof HTMLElement) || button.getAttribute("aria-disabled") === "true") return;
  const taskId = Number(row.dataset["taskId"]);
  const action = button.dataset["action"];
  const hostId = state.tasks.find((task) => task.id === taskId)?.host_id;
  if ((action === "check" || action === "reassess") && hostId !== undefined) void ask(action, hostId);
  else if (action === "switch") void switchTask(taskId);
  else if (action === "run") void run(taskId);
});
need("idle-hosts", HTMLElement).addEventListener("click", (event) => {
  const button = /** @type {Element} */ (event.target).closest("[data-action]");
  const row = button?.closest("[data-host-id]");
  if (!(button instanceof HTMLElement) || !(row instanceof HTMLElement) || button.getAttribute("aria-disabled") === "true") return;
  const hostId = Number(row.dataset["hostId"]);
  if (button.dataset["action"] === "new-task") taskForm.open(state.hosts, hostId);
  else void ask("check", hostId);
});
need("running", HTMLElement).addEventListener("click", (event) => {
  const button = /** @type {Element} */ (event.target).closest("[data-action]");
  const row = button?.closest("[data-run-id]");
  if (!(button instanceof HTMLElement) || !(row instanceof HTMLElement) || button.getAttribute("aria-disabled") === "true") return;
  const runId = Number(row.dataset["runId"]);
  if (button.dataset["action"] === "log") toggleLog(runId);
  else void cancel(runId);
});
need("new-task", HTMLElement).addEventListener("click", () => taskForm.open(state.hosts));
need("sign-out", HTMLElement).addEventListener("click", () => void signOut());
for (const button of document.querySelectorAll("dialog [data-action=close]")) {
  button.addEventListener("click", () => button.closest("dialog")?.close());
}
addEventListener("online", () => feed.wake());
addEventListener("pageshow", (event) => event.persisted && feed.wake());
document.addEventListener("visibilitychange", () => document.hidden || (feed.wake(), lists.wake()));
setInterval(() => {
  tick();
  connection.tick();
  void refreshDueTimes();
  void refreshScanHosts();
}, 1000);

render(state, doing);
connection.show(feed.status);
feed.start();
void findings.follow();
void digests.follow();
