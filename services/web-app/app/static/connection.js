/** The connection's state in words, colour and icon, and what each state means for the reader. */

import { icon, need } from "./dom.js";
import { clockTime } from "./time.js";

/** @import { Status } from "./feed.js" */

/** A state that passes sooner is shown but not announced, so that a short break does not interrupt three times. */
export const ANNOUNCE_AFTER = 700;

/**
 * What the header says.
 *
 * @param {Status} status
 * @param {number} now milliseconds
 */
export function statusText(status, now) {
  switch (status.kind) {
    case "connecting":
      return withStale("Connecting", status.staleSince, now);
    case "catching_up":
      return "Catching up";
    case "live":
      return "Live";
    case "delayed":
      return "Live, up to 2 s late";
    case "stale":
      return `Stale since ${clockTime(status.staleSince, now)}`;
    case "reconnecting": {
      const seconds = Math.ceil((status.retryAt - now) / 1000);
      return withStale(seconds > 0 ? `Reconnecting in ${seconds} s` : "Reconnecting", status.staleSince, now);
    }
    case "polling": {
      const words = { socket: "Polling every 30 s", limit: "Too many open pages: polling every 30 s", server: "Server not reachable" };
      return withStale(words[status.why], status.staleSince, now);
    }
    case "signed_out":
      return "Signed out";
  }
}

/**
 * What a state means, and what to do about it.
 *
 * @param {Status} status
 * @param {number} now milliseconds
 */
export function statusHelp(status, now) {
  const asOf = status.staleSince === null ? "" : `What you see is as of ${clockTime(status.staleSince, now)}. `;
  switch (status.kind) {
    case "connecting":
      return `${asOf}The page is connecting to the server. Nothing to do.`;
    case "catching_up":
      return `${asOf}The page is reading what it missed. Nothing to do.`;
    case "live":
      return "Results show here at once. Nothing to do.";
    case "delayed":
      return "The server looks for results every second instead of being told of them. Nothing is missed. If this lasts, tell whoever runs Vuls Live that Redis does not answer.";
    case "stale":
      return `${asOf}The server answers but cannot read its database. What happened since will show by itself. If this lasts, tell whoever runs Vuls Live.`;
    case "reconnecting":
      return `${asOf}The connection broke. The page comes back by itself and then shows what it missed: no need to reload.`;
    case "polling":
      return {
        socket: "No live connection gets through; a proxy may block WebSockets. Results show within 30 s. Nothing is missed.",
        limit: "You have too many pages open, so this one only looks every 30 s. Close some of the others.",
        server: `${asOf}The server does not answer. Check your network. The page tries again every 30 s and then shows what it missed.`,
      }[status.why];
    case "signed_out":
      return `${asOf}Sign in again to go on.`;
  }
}

/** Shows a feed's status and announces changes of it, but not each second of a countdown. */
export class ConnectionView {
  /** @type {Status} */ #status = { kind: "connecting", staleSince: null };
  /** What was announced last, so that it is said once. */
  #announced = "";
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #announcing;

  constructor() {
    need("connection-help", HTMLElement).addEventListener("beforetoggle", placeHelp);
  }

  /** @param {Status} status */
  show(status) {
    const kind = status.kind === "polling" && status.why === "server" ? "unreachable" : status.kind.replace("_", "-");
    const element = need("connection", HTMLElement);
    this.#status = status;
    if (element.dataset["state"] !== kind) {
      element.dataset["state"] = kind;
      element.querySelector("svg")?.replaceWith(icon(kind));
    }
    this.tick();
    clearTimeout(this.#announcing);
    this.#announcing = setTimeout(() => this.#announce(), ANNOUNCE_AFTER);
  }

  /** Count down. */
  tick() {
    const now = Date.now();
    setText(need("connection-text", HTMLElement), statusText(this.#status, now));
    const help = statusHelp(this.#status, now);
    setText(need("connection-help", HTMLElement), help);
    const element = need("connection", HTMLElement);
    if (element.title !== help) element.title = help;
  }

  #announce() {
    const words = announcement(this.#status, Date.now());
    if (!words || words === this.#announced) return;
    this.#announced = words;
    need("connection-announcement", HTMLElement).textContent = words;
  }
}

/**
 * @param {Status} status
 * @param {number} now milliseconds
 */
function announcement(status, now) {
  switch (status.kind) {
    case "connecting":
      return "";
    case "catching_up":
      return "Reading what was missed.";
    case "live":
      return "Connected: updates are live.";
    case "delayed":
      return "Updates come up to 2 seconds late.";
    case "stale":
      return `The server cannot read its database: not up to date since ${clockTime(status.staleSince, now)}.`;
    case "reconnecting":
      return `Connection lost: not up to date since ${clockTime(status.staleSince, now)}. Reconnecting.`;
    case "polling":
      return status.staleSince === null
        ? "No live connection: checking every 30 seconds."
        : `The server cannot be reached: not up to date since ${clockTime(status.staleSince, now)}.`;
    case "signed_out":
      return "Signed out."; // The banner says the rest.
  }
}

/** Under the state, wherever the header has put that. */
function placeHelp() {
  const { left, bottom } = need("connection", HTMLElement).getBoundingClientRect();
  const { style } = need("connection-help", HTMLElement);
  style.top = `${bottom + 8}px`;
  style.left = `${Math.max(12, Math.min(left, innerWidth - 428))}px`;
}

/**
 * @param {string} words
 * @param {number | null} staleSince
 * @param {number} now milliseconds
 */
function withStale(words, staleSince, now) {
  return staleSince === null ? words : `${words}, stale since ${clockTime(staleSince, now)}`;
}

/**
 * @param {HTMLElement} element
 * @param {string} text
 */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
