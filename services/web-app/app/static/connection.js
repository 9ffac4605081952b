/** The connection's state in words, colour and icon. */

import { icon, need } from "./dom.js";

/** @import { Status } from "./feed.js" */

/**
 * What the header says.
 *
 * @param {Status} status
 * @param {number} now milliseconds
 */
export function statusText(status, now) {
  switch (status.kind) {
    case "connecting":
      return "Connecting";
    case "live":
      return "Live";
    case "reconnecting": {
      const seconds = Math.ceil((status.retryAt - now) / 1000);
      return seconds > 0 ? `Reconnecting in ${seconds} s` : "Reconnecting";
    }
    case "polling":
      return {
        socket: "Polling every 30 s",
        limit: "Too many open pages: polling every 30 s",
        server: "Server not reachable: trying every 30 s",
      }[status.why];
    case "signed_out":
      return "Signed out";
  }
}

/** Shows a feed's status and announces changes of it, but not each second of a countdown. */
export class ConnectionView {
  /** @type {Status} */ #status = { kind: "connecting" };

  /** @param {Status} status */
  show(status) {
    const kind = status.kind.replace("_", "-");
    const element = need("connection", HTMLElement);
    const changed = status.kind !== this.#status.kind;
    this.#status = status;
    element.dataset["state"] = kind;
    element.querySelector("svg")?.replaceWith(icon(kind));
    this.tick();
    if (changed) need("connection-announcement", HTMLElement).textContent = announcement(status);
  }

  /** Count down. */
  tick() {
    const text = need("connection-text", HTMLElement);
    const words = statusText(this.#status, Date.now());
    if (text.textContent !== words) text.textContent = words;
  }
}

/** @param {Status} status */
function announcement(status) {
  switch (status.kind) {
    case "live":
      return "Connected: updates are live.";
    case "reconnecting":
      return "Connection lost: reconnecting.";
    case "polling":
      return "No live connection: checking every 30 seconds.";
    default:
      return "";
  }
}
