/** How a finished run looks, wherever it is shown. */

import { el, icon, prose } from "./dom.js";
import { counts, explanation, headline, outcome } from "./verdict.js";

/** @import { Digest, ResultData, RunStatus } from "./types.js" */
/** @import { Outcome } from "./verdict.js" */

/** @type {Record<Outcome, { icon: string, tone: string }>} */
const LOOKS = {
  clean: { icon: "ok", tone: "good" },
  found: { icon: "found", tone: "bad" },
  works: { icon: "ok", tone: "good" },
  not_assessed: { icon: "unsure", tone: "warn" },
  failed: { icon: "failed", tone: "bad" },
  cancelled: { icon: "info", tone: "calm" },
  other: { icon: "info", tone: "calm" },
};

/**
 * The colour of an outcome: good, bad, warn or calm.
 *
 * @param {RunStatus} status
 * @param {ResultData} result
 */
export function tone(status, result) {
  return LOOKS[outcome(status, result)].tone;
}

/**
 * How many updates at once look: as the one among them that asks most of the reader.
 *
 * @param {Digest} digest
 */
export function digestTone({ vulnerabilities, not_assessed, assessed }) {
  return LOOKS[vulnerabilities > 0 ? "found" : not_assessed > 0 ? "not_assessed" : assessed > 0 ? "clean" : "other"];
}

/**
 * Headline with icon, severity badges, and the sentence where there are no counts.
 *
 * @param {RunStatus} status
 * @param {ResultData} result
 */
export function resultView(status, result) {
  const look = LOOKS[outcome(status, result)];
  const why = explanation(status, result);
  return el(
    "div",
    { class: "result" },
    el(
      "div",
      { class: "result-line" },
      el("span", { class: `verdict ${look.tone}` }, icon(look.icon), headline(status, result)),
      result.demo === true && demoTag(),
    ),
    badges(result),
    why && el("p", { class: "why" }, ...prose(why)),
  );
}

/**
 * The counts as labelled badges, worst first; null without any.
 *
 * @param {ResultData} result
 */
export function badges(result) {
  const found = counts(result);
  if (found.length === 0) return null;
  return el(
    "ul",
    { class: "badges", "aria-label": "By severity" },
    ...found.map(({ severity, count }) => el("li", { class: `badge ${severity}` }, el("b", {}, String(count)), ` ${severity}`)),
  );
}

/** The mark of results that come from the demo database. */
export function demoTag() {
  return el("span", { class: "tag demo", title: "The counts come from the demo database, not from real advisories." }, "demo data");
}
