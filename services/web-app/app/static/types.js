/**
 * The shapes that the server sends. Types only: nothing here runs.
 *
 * @typedef {"viewer" | "operator" | "admin"} Role
 * @typedef {{ id: number, name: string, role: Role }} User
 * @typedef {{ id: number, name: string, zone?: string }} Host
 *
 * @typedef {import("./messages.js").Severity} Severity
 * @typedef {import("./messages.js").RunStatus} RunStatus
 * @typedef {import("./messages.js").Reason} Reason
 * @typedef {import("./messages.js").ResultData} ResultData
 * @typedef {import("./messages.js").TaskUpdate} TaskUpdate
 * @typedef {import("./messages.js").TaskProgress} TaskProgress
 * @typedef {import("./messages.js").Digest} Digest
 * @typedef {import("./messages.js").ChangeCounts} ChangeCounts
 * @typedef {import("./messages.js").FindingsChanged} FindingsChanged
 * @typedef {import("./messages.js").ChangedEvent} ChangedEvent
 * @typedef {import("./messages.js").Envelope} Envelope
 * @typedef {import("./messages.js").TaskEvent} TaskEvent
 * @typedef {import("./messages.js").ProgressEvent} ProgressEvent
 * @typedef {import("./messages.js").DigestEvent} DigestEvent
 *
 * @typedef {object} Run
 * @property {number} id
 * @property {number} task_id  0: asked for without a task
 * @property {string} task_name
 * @property {number} host_id
 * @property {string} host_name
 * @property {"scan" | "check" | "reassess"} [kind]
 * @property {RunStatus} status
 * @property {string} [trigger]
 * @property {number} [attempt]
 * @property {string} created_at
 * @property {string | null} started_at
 * @property {string | null} finished_at
 * @property {ResultData} result_data
 * @property {string | null} [phase]  how far it got
 * @property {number | null} [percent]  of a run that goes on, where that can be told
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
 * @property {number | null} [time_limit_minutes]  of a scan; absent from a server of the release before
 * @property {string | null} next_due_at
 * @property {Run | null} [last_run]  the last one that ended, or a later re-assessment of what it brought
 *
 * @typedef {{ digest: string, modified_at: string }} Database  of vulnerabilities; its checksum, and when its maker changed it
 *
 * @typedef {object} ScanHost
 * @property {string} name
 * @property {string} zone
 * @property {"ok" | "degraded" | "ill" | "unreachable" | "silent"} state
 * @property {string} seen_at
 * @property {Database | null} database
 *
 * Everything the page shows, true at `cursor`.
 * @typedef {object} Overview
 * @property {string} cursor
 * @property {User} user
 * @property {Host[]} hosts
 * @property {Task[]} tasks
 * @property {Run[]} running
 * @property {Run[]} recent  newest first, at most 50
 * @property {ScanHost[]} [scan_hosts]  absent from a server of the release before
 *
 * @typedef {object} Finding
 * @property {string} cve_id
 * @property {Severity} severity
 * @property {number | null} score
 * @property {string} title
 * @property {{ name: string, fixed_in: string | null, not_fixed_yet: boolean }[]} packages
 * @property {string[]} links
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
 * @property {string} kernel
 * @property {boolean} reboot_required  a newer kernel than the running one is installed
 * @property {number} package_count
 * @property {Database | null} database  what the packages were matched against, where that is known
 * @property {number | null} packages_from_scan_id  the scan that collected the packages, where they were assessed anew
 * @property {string} collected_at
 * @property {(Finding & { change: "new" | "reappeared" | "severity_changed" | null, severity_before: Severity | null })[]} findings
 * @property {string | null} [findings_next]  where the part behind these findings begins, if there is one
 * @property {ScanChanges | null} changes  null where there is no assessed scan before it, or it is none
 *
 * What is different from the assessed scan before, of the time `since`.
 * @typedef {{ since: string, new: ChangeCounts, fixed: ChangeCounts, severity_changed: ChangeCounts,
 *   reappeared: ChangeCounts, fixed_findings: Finding[], fixed_next?: string | null }} ScanChanges
 *
 * @typedef {{ name: string, version: string, new_version: string | null, arch: string | null, repository: string | null }} Package
 */

export {};
