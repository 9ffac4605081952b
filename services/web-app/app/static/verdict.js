/** What a finished run says, in words. A number of vulnerabilities is only ever said of an assessed host. */

/** @import { ChangeCounts, Digest, FindingsChanged, ResultData, RunStatus, Severity } from "./types.js" */

/** @type {readonly Severity[]} */
export const SEVERITIES = ["critical", "high", "medium", "low", "unknown"];

/**
 * @typedef {"clean" | "found" | "works" | "not_assessed" | "failed" | "cancelled" | "other"} Outcome
 */

/**
 * Sort a finished run into what the reader should do about it.
 *
 * @param {RunStatus} status
 * @param {ResultData} result
 * @returns {Outcome}
 */
export function outcome(status, result) {
  if (status === "cancelled") return "cancelled";
  if (status === "failed" || result.verdict === "failed") return "failed";
  if (result.verdict === "not_assessed") return "not_assessed";
  if (status === "success" && result.kind === "check") return "works";
  if (result.verdict !== "assessed" || typeof result.vulnerabilities !== "number") return "other";
  return result.vulnerabilities > 0 ? "found" : "clean";
}

/**
 * The headline of a finished run.
 *
 * @param {RunStatus} status
 * @param {ResultData} result
 */
export function headline(status, result) {
  switch (outcome(status, result)) {
    case "cancelled":
      return "Cancelled";
    case "failed":
      return "Failed";
    case "not_assessed":
      return "Not assessed";
    case "works":
      return "Connection works";
    case "clean":
      return "No known vulnerabilities";
    case "found":
      return result.vulnerabilities === 1 ? "1 vulnerability" : `${result.vulnerabilities} vulnerabilities`;
    case "other":
      return status === "success" ? "Finished" : status;
  }
}

/**
 * Why a run has no counts, as a sentence; "" when it has some.
 *
 * @param {RunStatus} status
 * @param {ResultData} result
 */
export function explanation(status, result) {
  if (result.reason) return result.reason.sentence;
  switch (outcome(status, result)) {
    case "failed":
      return result.kind === "check" ? "The host cannot be scanned." : "The scan ended without a usable result.";
    case "not_assessed":
      return "Packages were collected but not matched with known vulnerabilities.";
    default:
      return "";
  }
}

/**
 * The severities that were found, worst first.
 *
 * @param {ResultData} result
 * @returns {{ severity: Severity, count: number }[]}
 */
export function counts(result) {
  if (result.verdict !== "assessed") return [];
  return SEVERITIES.map((severity) => ({ severity, count: result[severity] ?? 0 })).filter(({ count }) => count > 0);
}

/** What the phases of a scan are called; one that is not in here is shown by its name. @type {Record<string, string>} */
const PHASES = {
  queued: "Waiting for a place on the scan host",
  preparing: "Preparing",
  starting: "Starting",
  validating: "Checking the settings",
  connecting: "Connecting to the host",
  connected: "Connected to the host",
  detecting_platform: "Detecting the platform",
  collecting_packages: "Collecting packages",
  loading: "Loading the packages",
  matching: "Matching with vulnerabilities",
  matched: "Storing the result",
};

/** @param {string | null | undefined} phase  none: not told yet */
export function phaseInWords(phase) {
  if (!phase) return "Scanning";
  const words = PHASES[phase] ?? phase.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/**
 * The headline of many updates at once; "" when none of them ended a run.
 *
 * @param {Digest} digest
 */
export function digestHeadline({ success, cancelled }) {
  if (success > 0) return `${counted(success, "scan")} finished`;
  return cancelled > 0 ? `${counted(cancelled, "scan")} cancelled` : "";
}

/**
 * What the updates of a digest were, so that the numbers add up: the scans that finished are assessed, not assessed or
 * without a verdict; the other updates are told besides.
 *
 * @param {Digest} digest
 * @returns {{ assessed: string, unassessed: string, besides: string, changed: string }} each "" where there is nothing to say
 */
export function digestSummary(digest) {
  const { success, cancelled, assessed, not_assessed, vulnerabilities, queued, started } = digest;
  const found = vulnerabilities === 0 ? "no known vulnerabilities" : vulnerabilities === 1 ? "1 vulnerability" : `${vulnerabilities} vulnerabilities`;
  const besides = enumerate([
    [success > 0 ? cancelled : 0, "cancelled"],
    [queued, "queued"],
    [started, "started"],
  ]);
  const changes = enumerate([
    [digest.new, "new"],
    [digest.reappeared, "reappeared"],
    [digest.severity_changed, "changed in severity"],
    [digest.fixed, "fixed"],
  ]);
  return {
    assessed: assessed > 0 ? `${assessed} assessed: ${found}` : "",
    unassessed: enumerate([
      [not_assessed, "not assessed"],
      [success - assessed - not_assessed, "without a verdict"],
    ]),
    changed: changes && `Changed on ${counted(digest.changed, "host")}: ${changes}`,
    besides: besides && `Besides: ${besides}`,
  };
}

/**
 * What changed on a host since its last assessed scan: "2 new (1 critical), 1 fixed".
 *
 * @param {Pick<FindingsChanged, "new" | "reappeared" | "severity_changed" | "fixed">} changes
 */
export function changesInWords(changes) {
  /** @type {[ChangeCounts, string][]} */
  const kinds = [
    [changes.new, "new"],
    [changes.reappeared, "reappeared"],
    [changes.severity_changed, "changed in severity"],
    [changes.fixed, "fixed"],
  ];
  return enumerate(kinds.map(([{ total, critical }, what]) => [total, critical > 0 ? `${what} (${critical} critical)` : what]));
}

/**
 * Whether changed findings are good news: nothing came, and something is gone.
 *
 * @param {FindingsChanged} changes
 */
export function onlyFixed(changes) {
  return changes.new.total + changes.reappeared.total + changes.severity_changed.total === 0;
}

/** @param {[number, string][]} parts */
function enumerate(parts) {
  return parts
    .filter(([count]) => count > 0)
    .map(([count, what]) => `${count} ${what}`)
    .join(", ");
}

/**
 * @param {number} number
 * @param {string} noun
 */
function counted(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}
