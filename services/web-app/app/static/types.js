/**
 * The shapes that the server sends. Types only: nothing here runs.
 *
 * @typedef {"viewer" | "operator" | "admin"} Role
 * @typedef {{ id: number, name: string, role: Role }} User
 * @typedef {{ id: number, name: string }} Host
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
 *
 * @typedef {object} Run
 * @property {number} id
 * @property {number} task_id  0: asked for without a task
 * @property {string} task_name
 * @property {number} host_id
 * @property {string} host_name
 * @property {RunStatus} status
 * @property {string} [trigger]
 * @property {number} [attempt]
 * @property {string} created_at
 * @property {string | null} started_at
 * @property {string | null} finished_at
 * @property {ResultData} result_data
 *
 * @typedef {object} Task
 * @property {number} id
 * @property {string} name
 * @property {number} host_id
 * @property {string} host_name
 * @property {string} scan_type
 * @property {string | null} cron
 * @property {string} timezone
 * @property {boolean} enabled
 * @property {string | null} next_due_at
 * @property {Run | null} [last_run]  the last one that ended
 *
 * Everything the page shows, true at `cursor`.
 * @typedef {object} Overview
 * @property {string} cursor
 * @property {User} user
 * @property {Host[]} hosts
 * @property {Task[]} tasks
 * @property {Run[]} running
 * @property {Run[]} recent  newest first, at most 50
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
 *
 * An event has an `id`; one that an administrator sent by hand has none.
 * @typedef {{ type: string, id?: string, data: unknown }} Envelope
 * @typedef {{ type: "task_update", id?: string, data: TaskUpdate }} TaskEvent
 *
 * @typedef {object} Finding
 * @property {string} cve_id
 * @property {Severity} severity
 * @property {number | null} score
 * @property {string} title
 * @property {{ name: string, fixed_in: string | null, not_fixed_yet: boolean }[]} packages
 *
 * @typedef {object} Scan
 * @property {number} id
 * @property {number} run_id
 * @property {string} [host_name]
 * @property {string} created_at
 * @property {string} family
 * @property {string} release
 * @property {"assessed" | "not_assessed"} verdict
 * @property {Reason | null} reason
 * @property {boolean} demo
 * @property {number} package_count
 * @property {Finding[]} findings
 */

export {};
