/** The dialog that shows the runs behind a digest. Its address is `#digest-SINCE_UNTIL`. */

import { ApiError, get } from "./api.js";
import { el, need, timeElement } from "./dom.js";
import { resultView } from "./result.js";
import { isFinal, isRunEvent } from "./state.js";

/** @import { Envelope, TaskUpdate } from "./types.js" */

const ADDRESS = /^#digest-([A-Za-z0-9]+-\d+)_([A-Za-z0-9]+-\d+)$/;

/**
 * @param {string} since
 * @param {string} until
 */
export function digestAddress(since, until) {
  return `#digest-${since}_${until}`;
}

/** Opens for an address and closes with it. */
export class DigestDialog {
  #dialog = need("digest", HTMLDialogElement);
  #subtitle = need("digest-subtitle", HTMLElement);
  #body = need("digest-body", HTMLElement);
  /** The address that is wanted now; an answer for another one comes too late. */
  #wanted = "";

  constructor() {
    this.#dialog.addEventListener("close", () => {
      this.#wanted = "";
      if (ADDRESS.test(location.hash)) history.replaceState(null, "", location.pathname + location.search);
    });
    addEventListener("hashchange", () => void this.follow());
  }

  /** Show what the address asks for. */
  async follow() {
    const [address, since, until] = ADDRESS.exec(location.hash) ?? [];
    if (!address || !since || !until) return this.#dialog.close();
    this.#wanted = address;
    this.#subtitle.replaceChildren();
    this.#body.replaceChildren(el("p", { class: "quiet", role: "status" }, "Loading…"));
    if (!this.#dialog.open) this.#dialog.showModal();
    try {
      const runs = await readRuns(since, until);
      if (this.#wanted === address) this.#show(runs);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      const gone = error.status === 410;
      const words = gone ? "These events are no longer in the log, or too many. Recent activity shows the last 50 runs." : error.message;
      if (this.#wanted === address) this.#body.replaceChildren(el("p", { class: "form-problem", role: "alert" }, words));
    }
  }

  /** @param {TaskUpdate[]} runs  newest first */
  #show(runs) {
    const newest = runs[0];
    this.#subtitle.replaceChildren(`${runs.length} ${runs.length === 1 ? "run" : "runs"}`);
    if (newest) this.#subtitle.append(" · the last one ", timeElement(newest.timestamp));
    this.#body.replaceChildren(runs.length > 0 ? table(runs) : el("p", {}, "None of these runs has ended."));
  }
}

/**
 * The updates that ended a run, newest first.
 *
 * @param {string} since
 * @param {string} until
 */
async function readRuns(since, until) {
  /** @type {TaskUpdate[]} */
  const runs = [];
  for (let after = since; after !== until; ) {
    const page = await get(`/api/notifications?since=${encodeURIComponent(after)}&until=${encodeURIComponent(until)}`);
    /** @type {Envelope[]} */
    const events = page.items;
    runs.push(...events.filter(isRunEvent).map(({ data }) => data));
    if (events.length === 0 || page.next === after) break;
    after = page.next;
  }
  return runs.filter(({ status }) => isFinal(status)).reverse();
}

/** @param {TaskUpdate[]} runs */
function table(runs) {
  const heads = ["Task", "Host", "Result"];
  return el(
    "table",
    { class: "list digest", role: "table" },
    el(
      "thead",
      { role: "rowgroup" },
      el(
        "tr",
        { role: "row" },
        ...heads.map((head) => el("th", { role: "columnheader", scope: "col" }, head)),
        el("th", { role: "columnheader", scope: "col" }, el("span", { class: "visually-hidden" }, "Findings")),
      ),
    ),
    el("tbody", { role: "rowgroup" }, ...runs.map(row)),
  );
}

/** @param {TaskUpdate} run */
function row(run) {
  const details = typeof run.result_data.scan_id === "number";
  return el(
    "tr",
    { role: "row", "data-run-id": String(run.task_run_id) },
    el("td", { role: "cell", class: "main", "data-label": "Task" }, el("span", { class: "name" }, run.task_name)),
    el("td", { role: "cell", "data-label": "Host" }, run.host_name ?? ""),
    el("td", { role: "cell", "data-label": "Result" }, resultView(run.status, run.result_data)),
    el(
      "td",
      { role: "cell", class: "action" },
      details &&
        el(
          "a",
          { class: "button", href: `#run-${run.task_run_id}` },
          "Details",
          el("span", { class: "visually-hidden" }, ` of ${run.task_name}, run ${run.task_run_id}`),
        ),
    ),
  );
}
