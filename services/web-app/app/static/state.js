/** What the page knows, and how events change it. Pure: no DOM, no clock, no network. */

import { parseTime } from "./time.js";

/** @import { ChangedEvent, DigestEvent, Envelope, Overview, ProgressEvent, Run, ScanHost, Task, TaskEvent, TaskProgress, TaskUpdate } from "./types.js" */

export const RECENT_LIMIT = 50;

/**
 * @typedef {{ type: "loaded", overview: Overview }
 *   | { type: "tasks_loaded", tasks: Task[] }
 *   | { type: "scan_hosts_loaded", scanHosts: ScanHost[] }
 *   | { type: "event", event: Envelope }
 *   | { type: "run_accepted", run: Run }
 *   | { type: "run_cancelled", run: Run }
 *   | { type: "task_created", task: Task }
 *   | { type: "task_changed", task: Task }} Action
 */

/**
 * Return the state after an action; the same object when nothing changed.
 *
 * @param {Overview} state
 * @param {Action} action
 * @returns {Overview}
 */
export function reduce(state, action) {
  switch (action.type) {
    case "loaded":
      return action.overview;
    case "tasks_loaded":
      return { ...state, tasks: action.tasks.map((task) => withLaterRun(task, state.tasks)) };
    case "scan_hosts_loaded":
      return { ...state, scan_hosts: action.scanHosts };
    case "task_created":
      return { ...state, tasks: [...state.tasks.filter((task) => task.id !== action.task.id), action.task] };
    case "task_changed":
      return { ...state, tasks: state.tasks.map((task) => (task.id === action.task.id ? { ...action.task, last_run: task.last_run ?? null } : task)) };
    case "run_accepted":
      return knows(state, action.run.id) ? state : { ...state, running: byId([...state.running, action.run]) };
    case "run_cancelled":
      return withEnd(state, action.run);
    case "event":
      if (isProgress(action.event)) return withProgress(state, action.event.data);
      return isRunEvent(action.event) ? withEvent(state, action.event.data) : state;
  }
}

/**
 * @param {Envelope} event
 * @returns {event is TaskEvent}
 */
export function isTaskUpdate(event) {
  return event.type === "task_update" && has(event.data, "task_run_id");
}

/**
 * @param {Envelope} event
 * @returns {event is ProgressEvent}
 */
export function isProgress(event) {
  return event.type === "task_progress" && has(event.data, "phase");
}

/**
 * @param {Envelope} event
 * @returns {event is DigestEvent}
 */
export function isDigest(event) {
  return event.type === "digest" && has(event.data, "events");
}

/**
 * @param {Envelope} event
 * @returns {event is ChangedEvent}
 */
export function isFindingsChanged(event) {
  return event.type === "findings_changed" && has(event.data, "new") && has(event.data, "fixed");
}

/**
 * @param {unknown} data
 * @param {string} name
 */
function has(data, name) {
  return typeof data === "object" && data !== null && name in data;
}

/**
 * Whether an event tells of a run that the lists show. One without an id or a host is a message to people: it changes
 * nothing, so that the page always equals what a reload would show.
 *
 * @param {Envelope} event
 * @returns {event is TaskEvent}
 */
export function isRunEvent(event) {
  return isTaskUpdate(event) && event.id !== undefined && typeof event.data.host_id === "number";
}

/** @param {string} status */
export function isFinal(status) {
  return status === "success" || status === "failed" || status === "cancelled";
}

/**
 * @param {Overview} state
 * @param {TaskUpdate} data
 * @returns {Overview}
 */
function withEvent(state, data) {
  const known = [...state.running, ...state.recent].find((run) => run.id === data.task_run_id);
  if (known && tellsNothingNew(data, known)) return state;
  const run = withUpdate(known, data);
  const running = state.running.filter((other) => other.id !== run.id);
  const recent = state.recent.filter((other) => other.id !== run.id);
  if (!isFinal(run.status)) return { ...state, running: byId([...running, run]), recent };
  return {
    ...state,
    running,
    recent: [run, ...recent].slice(0, RECENT_LIMIT),
    tasks: state.tasks.map((task) => (isResultOf(task, run) ? { ...task, last_run: run } : task)),
  };
}

/**
 * Whether a run that ended is its task's last result. Where that one brought packages, so is a later success in assessing
 * those of its host anew.
 *
 * @param {Task} task
 * @param {Run} run
 */
function isResultOf(task, run) {
  if (task.id === run.task_id) return true;
  if (run.kind !== "reassess" || run.status !== "success" || task.host_id !== run.host_id) return false;
  return task.last_run?.status === "success" && endOf(run) > endOf(task.last_run);
}

/**
 * Whether a list that was loaded meanwhile knows more than an update does, or as much. All these times are the database's.
 *
 * @param {TaskUpdate} data
 * @param {Run} known
 */
function tellsNothingNew(data, known) {
  const at = parseTime(data.timestamp);
  const changed = parseTime(known.finished_at ?? known.started_at ?? known.created_at);
  return at < changed || (at === changed && data.status === known.status);
}

/**
 * How far a run is; the latest wins. One that is not running here has ended, or will be told of by an update.
 *
 * @param {Overview} state
 * @param {TaskProgress} data
 * @returns {Overview}
 */
function withProgress(state, data) {
  if (!state.running.some((run) => run.id === data.task_run_id)) return state;
  const { phase, percent = null } = data;
  return { ...state, running: state.running.map((run) => (run.id === data.task_run_id ? { ...run, phase, percent } : run)) };
}

/**
 * A run that was cancelled here; its event tells the same.
 *
 * @param {Overview} state
 * @param {Run} run
 * @returns {Overview}
 */
function withEnd(state, run) {
  if (!state.running.some((other) => other.id === run.id)) return state;
  return {
    ...state,
    running: state.running.filter((other) => other.id !== run.id),
    recent: [run, ...state.recent.filter((other) => other.id !== run.id)].slice(0, RECENT_LIMIT),
    tasks: state.tasks.map((task) => (task.id === run.task_id ? { ...task, last_run: run } : task)),
  };
}

/**
 * @param {Run | undefined} known
 * @param {TaskUpdate} data
 * @returns {Run}
 */
function withUpdate(known, data) {
  const at = `${data.timestamp}Z`;
  const queued = data.status === "queued";
  return {
    id: data.task_run_id,
    task_id: data.task_id,
    task_name: data.task_name,
    host_id: data.host_id ?? 0,
    host_name: data.host_name ?? known?.host_name ?? "",
    kind: data.kind ?? "scan",
    status: data.status,
    created_at: known?.created_at ?? at,
    started_at: queued ? null : data.status === "started" ? at : (known?.started_at ?? null),
    finished_at: isFinal(data.status) ? at : null,
    result_data: data.result_data ?? {},
  };
}

/**
 * @param {Task} task
 * @param {Task[]} known
 * @returns {Task}
 */
function withLaterRun(task, known) {
  const ours = known.find((other) => other.id === task.id)?.last_run;
  return ours && endOf(ours) > endOf(task.last_run) ? { ...task, last_run: ours } : task;
}

/**
 * @param {Overview} state
 * @param {number} runId
 */
function knows(state, runId) {
  return [...state.running, ...state.recent].some((run) => run.id === runId);
}

/**
 * The order in which the server lists open runs.
 *
 * @param {Run[]} runs
 */
function byId(runs) {
  return runs.sort((a, b) => a.id - b.id);
}

/** @param {Run | null | undefined} run */
function endOf(run) {
  return run?.finished_at ? parseTime(run.finished_at) : 0;
}
