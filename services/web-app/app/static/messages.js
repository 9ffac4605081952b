/**
 * The messages of the live feed, as docs/protocol.md has them. Types only: nothing here runs.
 *
 * @typedef {"critical" | "high" | "medium" | "low" | "unknown"} Severity
 * @typedef {"queued" | "started" | "success" | "failed" | "cancelled"} RunStatus
 * @typedef {{ code: string, sentence: string }} Reason
 *
 * What a run found. Counts are numbers only when `verdict` is "assessed".
 * @typedef {object} ResultData
 * @property {number | null} [scan_id]
 * @property {"assessed" | "not_assessed" | "failed"} [verdict]
 * @property {number | null} [vulnerabilities]
 * @property {number | null} [critical]
 * @property {number | null} [high]
 * @property {number | null} [medium]
 * @property {number | null} [low]
 * @property {number | null} [unknown]
 * @property {Reason | null} [reason]
 * @property {boolean} [demo]  true when the counts come from the demo database
 * @property {string} [kind]  of a run that is no scan: check, reassess
 * @property {string | null} [collected_at]  when the packages were collected that were assessed anew; UTC, without a zone
 *
 * @typedef {object} TaskUpdate
 * @property {number} task_id
 * @property {number} task_run_id
 * @property {RunStatus} status
 * @property {string} task_name
 * @property {ResultData} result_data
 * @property {string} timestamp  UTC, without a zone
 * @property {number | null} [host_id]
 * @property {string | null} [host_name]
 * @property {"scan" | "check" | "reassess"} [kind]  absent: scan
 *
 * @typedef {object} TaskProgress
 * @property {number} task_id
 * @property {number} task_run_id
 * @property {string} task_name
 * @property {string} phase
 * @property {number | null} [percent]  0 to 100
 * @property {string} timestamp  UTC, without a zone
 * @property {number | null} [host_id]
 * @property {string | null} [host_name]
 *
 * Stands for `events` updates behind the cursor `since`; queued, started, success and cancelled add up to them. None of
 * them failed or found something critical. On `changed` hosts findings changed, new and so on in all.
 * @typedef {object} Digest
 * @property {string} since
 * @property {number} events
 * @property {number} queued
 * @property {number} started
 * @property {number} success
 * @property {number} cancelled
 * @property {number} assessed
 * @property {number} not_assessed
 * @property {number} vulnerabilities
 * @property {number} high
 * @property {number} medium
 * @property {number} low
 * @property {number} unknown
 * @property {number} changed
 * @property {number} new
 * @property {number} fixed
 * @property {number} reappeared
 * @property {number} severity_changed
 * @property {number} hosts
 *
 * How many findings changed in one way: the severities add up to `total`. `cve_ids` names the worst 100.
 * @typedef {Record<Severity, number> & { total: number, cve_ids: string[] }} ChangeCounts
 *
 * What is different from the host's assessed scan before. The severity is that of now, of a fixed one the last it had.
 * @typedef {object} FindingsChanged
 * @property {number} host_id
 * @property {string} host_name
 * @property {number} scan_id
 * @property {number} task_run_id
 * @property {ChangeCounts} new
 * @property {ChangeCounts} fixed
 * @property {ChangeCounts} severity_changed
 * @property {ChangeCounts} reappeared
 * @property {string} timestamp  UTC, without a zone
 *
 * An event has an `id`; one that an administrator sent by hand has none.
 * @typedef {{ type: string, id?: string, data: unknown }} Envelope
 * @typedef {{ type: "task_update", id?: string, data: TaskUpdate }} TaskEvent
 * @typedef {{ type: "task_progress", id: string, data: TaskProgress }} ProgressEvent
 * @typedef {{ type: "findings_changed", id: string, data: FindingsChanged }} ChangedEvent
 * @typedef {{ type: "digest", id: string, data: Digest }} DigestEvent
 */

export {};
