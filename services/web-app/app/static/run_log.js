/** What the programs of a run say: below its row while it runs, with its details later; asked for only while somebody looks. */

import { ApiError, get } from "./api.js";
import { el } from "./dom.js";

const INTERVAL = 1000;
const RETRY = 5000;
/** As many as the server keeps of a run. */
const MAX_LINES = 1000;
const EMPTY = "Nothing was said yet.";
const NOTHING_KEPT = "Nothing was said, or it is not kept any more.";

/** The logs that are open. */
export class RunLogs {
  /** @type {Map<number, RunLog>} */ #open = new Map();

  /** @param {number} runId */
  isOpen(runId) {
    return this.#open.has(runId);
  }

  /**
   * Open or close the log of a run; draw the page anew after it.
   *
   * @param {number} runId
   */
  toggle(runId) {
    if (this.#open.delete(runId)) return;
    this.#open.set(runId, new RunLog(runId));
  }

  /**
   * Where the log of an open run is shown; the same element each time. Asking ends when it has left the page.
   *
   * @param {number} runId
   * @param {string} name
   */
  view(runId, name) {
    const log = this.#open.get(runId);
    if (!log) throw new Error(`The log of run ${runId} is not open`);
    log.show(name);
    return log.element;
  }

  /**
   * Close the logs of runs that are no longer shown.
   *
   * @param {ReadonlySet<number>} shown
   */
  keep(shown) {
    for (const runId of this.#open.keys()) if (!shown.has(runId)) this.#open.delete(runId);
  }
}

/** The log of one run. */
export class RunLog {
  element = el("pre", { class: "run-log mono", role: "log", "aria-live": "off", tabindex: "0" }, EMPTY);
  #path;
  #since = "0";
  #lines = 0;
  #following = false;

  /** @param {number} runId */
  constructor(runId) {
    this.#path = `/api/runs/${runId}/log`;
  }

  /**
   * Begin to ask, as long as the element is on the page.
   *
   * @param {string} name of the task
   */
  show(name) {
    this.element.setAttribute("aria-label", `Log of ${name}`);
    if (this.#following) return;
    this.#following = true;
    setTimeout(() => void this.#follow(), 0); // It is on the page by then.
  }

  async #follow() {
    while (this.element.isConnected) {
      let wait = INTERVAL;
      if (!document.hidden) {
        try {
          const page = await get(`${this.#path}?since=${encodeURIComponent(this.#since)}`);
          this.#add(page.items);
          if (page.next === null) {
            if (this.#lines === 0) this.element.textContent = NOTHING_KEPT;
            break;
          }
          this.#since = page.next;
        } catch (error) {
          if (!(error instanceof ApiError)) throw error;
          if (error.status >= 400 && error.status < 500 && error.status !== 429) break; // Asking again gives no other answer.
          wait = RETRY; // The connection's state tells of it already.
        }
      }
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
    this.#following = false;
  }

  /** @param {{ n: number, text: string }[]} items */
  #add(items) {
    if (items.length === 0) return;
    const { element } = this;
    const atEnd = element.scrollHeight - element.scrollTop - element.clientHeight < 8;
    if (this.#lines === 0) element.replaceChildren();
    element.append(...items.map(({ text }) => el("span", {}, `${text}\n`)));
    this.#lines += items.length;
    while (element.childNodes.length > MAX_LINES) element.firstChild?.remove();
    if (atEnd) element.scrollTop = element.scrollHeight;
  }
}
