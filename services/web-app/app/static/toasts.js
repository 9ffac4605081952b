/**
 * Toasts: at most five, dismissable, and patient while somebody looks at them. Failures stay until dismissed.
 *
 * F8 moves the focus to the newest one and back; Escape dismisses the one that has the focus.
 */

import { digestAddress } from "./digest.js";
import { el, icon } from "./dom.js";
import { badges, digestTone, resultView, tone } from "./result.js";
import { changesInWords, digestHeadline, digestSummary, onlyFixed, outcome } from "./verdict.js";

/** @import { ChangedEvent, DigestEvent, Envelope, TaskUpdate } from "./types.js" */

export const MOST = 5;
export const LIFETIME = 10_000;
const STEP = 250;

/** The stack in the corner. */
export class Toasts {
  #region;
  /** Milliseconds that a toast has left; those that stay are not in here. @type {Map<HTMLElement, number>} */
  #left = new Map();
  /** Where the focus was before F8. @type {HTMLElement | null} */
  #before = null;

  /** @param {HTMLElement} region */
  constructor(region) {
    this.#region = region;
    region.addEventListener("click", (event) => this.#click(event));
    document.addEventListener("keydown", (event) => this.#key(event));
    setInterval(() => this.#age(), STEP);
  }

  /**
   * Tell of a run, or of a message that somebody sent.
   *
   * @param {Envelope & { data: TaskUpdate }} event
   */
  showUpdate({ id, data }) {
    const failed = data.status === "failed";
    const isRun = typeof data.host_id === "number";
    const works = data.kind === "check" && data.status === "success";
    const link = outcome(data.status, data.result_data ?? {}) === "found" ? "See the findings" : "Show the details";
    this.#add(
      failed ? "alert" : "group",
      `toast ${tone(data.status, data.result_data ?? {})}`,
      { "data-run-id": String(data.task_run_id), "data-event-id": id ?? null, "data-status": data.status },
      [
        ...(works
          ? [el("p", { class: "toast-title" }, icon("ok"), `Connection to ${data.host_name} works.`)]
          : [
              el("p", { class: "toast-title" }, data.task_name),
              data.host_name && el("p", { class: "quiet" }, data.host_name),
              resultView(data.status, data.result_data ?? {}),
            ]),
        isRun && !works && el("p", {}, el("a", { class: "link", href: `#run-${data.task_run_id}` }, link)),
      ],
      !failed,
    );
  }

  /**
   * Tell what changed on a host since its last assessed scan.
   *
   * @param {ChangedEvent} event
   */
  showChanges({ id, data }) {
    const good = onlyFixed(data);
    this.#add(
      "group",
      `toast ${good ? "good" : "bad"}`,
      { "data-event-id": id, "data-changes": String(data.task_run_id) },
      [
        el("p", { class: "toast-title" }, icon(good ? "ok" : "found"), data.host_name),
        el("p", {}, changesInWords(data)),
        el("p", {}, el("a", { class: "link", href: `#run-${data.task_run_id}` }, "See the findings")),
      ],
      true,
    );
  }

  /**
   * Tell of many runs at once, if any of them ended.
   *
   * @param {DigestEvent} event
   */
  showDigest({ id, data }) {
    const title = digestHeadline(data);
    if (!title) return;
    const look = digestTone(data);
    const { assessed, unassessed, besides, changed } = digestSummary(data);
    this.#add(
      "group",
      `toast ${look.tone}`,
      { "data-event-id": id, "data-digest": "" },
      [
        el("p", { class: "toast-title" }, icon(look.icon), title),
        assessed && el("p", {}, assessed),
        badges({ ...data, critical: 0, verdict: "assessed" }),
        unassessed && el("p", {}, unassessed),
        changed && el("p", {}, changed),
        besides && el("p", { class: "quiet" }, besides),
        el("p", {}, el("a", { class: "link", href: digestAddress(data.since, id) }, "Show the runs")),
      ],
      true,
    );
  }

  /**
   * Say what did not work.
   *
   * @param {string} title
   * @param {string} sentence
   */
  showProblem(title, sentence) {
    const body = [el("p", { class: "toast-title" }, icon("failed"), title), el("p", {}, sentence)];
    this.#add("alert", "toast bad", {}, body, false);
  }

  /**
   * Say that something worked.
   *
   * @param {string} title
   * @param {string} sentence
   */
  showSuccess(title, sentence) {
    const body = [el("p", { class: "toast-title" }, icon("ok"), title), el("p", {}, sentence)];
    this.#add("group", "toast good", {}, body, true);
  }

  /**
   * @param {"group" | "alert"} role  the region is polite; an alert interrupts
   * @param {string} className
   * @param {Record<string, string | null>} attributes
   * @param {import("./dom.js").Child[]} body
   * @param {boolean} leaves whether it goes by itself
   */
  #add(role, className, attributes, body, leaves) {
    const toast = el(
      "div",
      { class: className, role, ...attributes },
      el("div", { class: "toast-body" }, ...body),
      el("button", { class: "button icon-button", type: "button", "data-action": "dismiss", "aria-label": "Dismiss" }, icon("close")),
    );
    this.#region.prepend(toast);
    if (leaves) this.#left.set(toast, LIFETIME);
    while (this.#region.childElementCount > MOST) this.#remove(this.#oldest());
  }

  /** What goes first when there are too many: the oldest one that would leave by itself, else the oldest. */
  #oldest() {
    const oldestFirst = /** @type {HTMLElement[]} */ ([...this.#region.children]).reverse();
    const leaving = oldestFirst.find((toast) => this.#left.has(toast));
    return leaving ?? /** @type {HTMLElement} */ (oldestFirst[0]);
  }

  /** @param {HTMLElement} toast */
  #remove(toast) {
    const hadFocus = toast.contains(document.activeElement);
    const neighbour = /** @type {HTMLElement | null} */ (toast.nextElementSibling ?? toast.previousElementSibling);
    this.#left.delete(toast);
    toast.remove();
    if (!hadFocus) return;
    if (neighbour) focusOn(neighbour);
    else this.#giveBackFocus();
  }

  #giveBackFocus() {
    if (this.#before?.isConnected) this.#before.focus();
    this.#before = null;
  }

  #age() {
    if (this.#paused()) return;
    for (const [toast, left] of this.#left) {
      if (left <= STEP) this.#remove(toast);
      else this.#left.set(toast, left - STEP);
    }
  }

  /** Nobody may miss a toast because the tab was hidden, a dialog lay over it, or because of reading slowly. */
  #paused() {
    return (
      document.hidden ||
      this.#region.matches(":hover") ||
      this.#region.contains(document.activeElement) ||
      document.querySelector("dialog[open]") !== null
    );
  }

  /** @param {MouseEvent} event */
  #click(event) {
    const target = /** @type {Element} */ (event.target);
    const toast = target.closest(".toast");
    if (toast instanceof HTMLElement && target.closest("a, [data-action=dismiss]")) this.#remove(toast);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const inside = this.#region.contains(document.activeElement);
    if (event.key === "F8") {
      event.preventDefault();
      if (inside) return this.#giveBackFocus();
      const newest = this.#region.firstElementChild;
      if (!(newest instanceof HTMLElement)) return;
      this.#before = document.activeElement instanceof HTMLElement ? document.activeElement : null;
      focusOn(newest);
    } else if (event.key === "Escape" && inside) {
      const toast = document.activeElement?.closest(".toast");
      if (toast instanceof HTMLElement) this.#remove(toast);
    }
  }
}

/** @param {HTMLElement} toast */
function focusOn(toast) {
  const button = toast.querySelector("[data-action=dismiss]");
  if (button instanceof HTMLElement) button.focus();
}
