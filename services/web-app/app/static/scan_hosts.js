/** The hosts that scan: whether they can, and how old their vulnerability databases are. */

import { el, icon, timeElement } from "./dom.js";

/** @import { ScanHost } from "./types.js" */

const DIGEST_SHOWN = 12;

/** @type {Record<ScanHost["state"], { words: string, why: string, tone: string, icon: string }>} */
const STATES = {
  ok: { words: "Ready", why: "", tone: "good", icon: "ok" },
  degraded: {
    words: "Cannot assess",
    why: "It scans, but nothing is matched: its vulnerability database is missing, too old, or cannot be read.",
    tone: "warn",
    icon: "unsure",
  },
  ill: { words: "Cannot scan", why: "Its Docker engine does not answer, or the image of Vuls is missing.", tone: "bad", icon: "failed" },
  unreachable: { words: "Cannot scan", why: "Its executor does not answer its worker.", tone: "bad", icon: "failed" },
  silent: { words: "Not heard of", why: "Its worker is stopped, or cannot reach the database.", tone: "bad", icon: "failed" },
};

/**
 * The cells of a scan host's row.
 *
 * @param {ScanHost} host
 * @param {(label: string, kind: string, ...children: import("./dom.js").Child[]) => HTMLElement} cell
 */
export function scanHostCells({ name, zone, state, seen_at, database }, cell) {
  const { words, why, tone, icon: sign } = STATES[state];
  return [
    cell("Scan host", "main", el("span", { class: "name" }, name)),
    cell("Zone", "host", zone),
    cell(
      "State",
      "result-cell",
      el("span", { class: `verdict ${tone}` }, icon(sign), words),
      why && el("p", { class: "why" }, why),
      state === "silent" && el("span", { class: "quiet" }, "Last ", timeElement(seen_at)),
    ),
    cell(
      "Database",
      "database",
      database
        ? el(
            "div",
            {},
            el("div", {}, "Changed ", timeElement(database.modified_at)),
            el("div", { class: "quiet mono", title: database.digest }, database.digest.replace(/^sha256:/, "").slice(0, DIGEST_SHOWN)),
          )
        : el("span", { class: "quiet" }, "Unknown"),
    ),
  ];
}
