/** What a finished run says, in words. A number of vulnerabilities is only ever said of an assessed host. */

/** @import { ResultData, RunStatus, Severity } from "./types.js" */

/** @type {readonly Severity[]} */
export const SEVERITIES = ["critical", "high", "medium", "low", "unknown"];

/**
 * @typedef {"clean" | "found" | "not_assessed" | "failed" | "cancelled" | "other"} Outcome
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
      return "The scan ended without a usable result.";
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
