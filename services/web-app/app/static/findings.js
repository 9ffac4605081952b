/** The dialog that shows what a run found. Its address is `#run-ID`, so that it can be linked to. */

import { ApiError, get } from "./api.js";
import { el, need, timeElement } from "./dom.js";
import { badges, demoTag, resultView } from "./result.js";
import { RunLog } from "./run_log.js";
import { changesInWords } from "./verdict.js";

/** @import { Finding, Package, Run, Scan, ScanChanges } from "./types.js" */

/** Opens for an address and closes with it. */
export class FindingsDialog {
  #dialog = need("findings", HTMLDialogElement);
  #title = need("findings-title", HTMLElement);
  #subtitle = need("findings-subtitle", HTMLElement);
  #body = need("findings-body", HTMLElement);
  #findRun;
  /** The run that is wanted now; an answer for another one comes too late. @type {number | null} */
  #wanted = null;

  /** @param {(id: number) => Run | undefined} findRun what the page knows already */
  constructor(findRun) {
    this.#findRun = findRun;
    this.#dialog.addEventListener("close", () => this.#closed());
    addEventListener("hashchange", () => void this.follow());
  }

  /** Show what the address asks for. */
  async follow() {
    const match = /^#run-(\d{1,19})$/.exec(location.hash);
    if (!match) return this.#dialog.close();
    const id = Number(match[1]);
    this.#wanted = id;
    this.#title.textContent = "Findings";
    this.#subtitle.replaceChildren(`Run ${id}`);
    this.#body.replaceChildren(el("p", { class: "quiet", role: "status" }, "Loading…"));
    if (!this.#dialog.open) this.#dialog.showModal();
    try {
      const run = this.#findRun(id) ?? (await get(`/api/runs/${id}`));
      const scanId = run.result_data.scan_id;
      const scan = typeof scanId === "number" ? await get(`/api/scans/${scanId}`) : null;
      if (this.#wanted === id) this.#show(run, scan);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (this.#wanted === id) this.#body.replaceChildren(problemView(error, () => void this.follow()));
    }
  }

  /**
   * @param {Run} run
   * @param {Scan | null} scan
   */
  #show(run, scan) {
    this.#title.textContent = run.task_name;
    this.#subtitle.replaceChildren(...subtitle(run, scan));
    if (!scan || scan.verdict !== "assessed") {
      this.#body.replaceChildren(resultView(run.status, run.result_data));
    } else {
      const clean = `No known vulnerability in the ${scan.package_count} packages of this host.`;
      const fixed = scan.changes?.fixed_findings ?? [];
      this.#body.replaceChildren(
        ...[
          scan.findings.length === 0
            ? el("p", {}, clean, " ", scan.demo && demoTag())
            : el("div", { class: "result-line" }, badges(run.result_data), scan.demo && demoTag()),
          scan.database && el("p", { class: "quiet" }, "Matched against the vulnerability database of ", timeElement(scan.database.modified_at), "."),
          scan.reboot_required && el("p", {}, `A newer kernel than the running ${scan.kernel} is installed: the host waits for a reboot.`),
          typeof scan.packages_from_scan_id === "number" && el("p", { "data-collected": "" }, "Packages as they were ", timeElement(scan.collected_at), ", assessed again."),
          scan.changes && changesView(scan.changes),
          scan.findings.length > 0 && findingsInParts(scan.id, "found", scan.findings, scan.findings_next),
          fixed.length > 0 && el("h3", {}, "Fixed since the last assessed scan"),
          fixed.length > 0 && findingsInParts(scan.id, "fixed", fixed, scan.changes?.fixed_next),
        ].filter((part) => part instanceof HTMLElement),
      );
    }
    if (scan && scan.package_count > 0) this.#body.append(packagesView(scan));
    this.#body.append(logView(run));
  }

  #closed() {
    const id = this.#wanted;
    this.#wanted = null;
    if (location.hash.startsWith("#run-")) history.replaceState(null, "", location.pathname + location.search);
    const link = document.querySelector(`#row-${id} [data-action=findings]`);
    if (link instanceof HTMLElement) link.focus();
  }
}

/**
 * The log, closed until somebody asks for it.
 *
 * @param {Run} run
 */
function logView(run) {
  const log = new RunLog(run.id);
  const details = el("details", { class: "log-details" }, el("summary", {}, "What the programs said"), log.element);
  details.addEventListener("toggle", () => details.open && log.show(run.task_name));
  return details;
}

/**
 * @param {Run} run
 * @param {Scan | null} scan
 */
function subtitle(run, scan) {
  const parts = [run.host_name];
  if (scan) parts.push(`${scan.family} ${scan.release}`, `${scan.package_count} packages`);
  const text = `${parts.filter(Boolean).join(" · ")} · run ${run.id}`;
  return run.finished_at ? [`${text} · `, timeElement(run.finished_at)] : [text];
}

/** @param {ScanChanges} changes */
function changesView(changes) {
  const words = changesInWords(changes);
  return el("p", { "data-changes": "" }, "Since the last assessed scan, ", timeElement(changes.since), `: ${words || "nothing changed"}.`);
}

/**
 * @param {number} scanId
 * @param {"found" | "fixed"} state
 * @param {(Finding & Partial<Scan["findings"][number]>)[]} findings
 * @param {string | null | undefined} next
 */
function findingsInParts(scanId, state, findings, next) {
  const { table, body } = emptyTable("findings", ["Severity", "CVE", "Package", "Fixed in"]);
  body.append(...findings.map(findingRow));
  return inParts(table, body, `/api/scans/${scanId}/findings?state=${state}`, next ?? null, findingRow, "Show more findings");
}

/**
 * The packages, not asked for until somebody opens them.
 *
 * @param {Scan} scan
 */
function packagesView(scan) {
  const details = el("details", { class: "log-details" }, el("summary", {}, `Packages (${scan.package_count})`));
  const { table, body } = emptyTable("packages", ["Package", "Version", "Newer version", "Architecture"]);
  let asked = false;
  details.addEventListener("toggle", () => {
    if (!details.open || asked) return;
    asked = true;
    const view = inParts(table, body, `/api/scans/${scan.id}/packages?`, "0", packageRow, "Show more packages");
    details.append(view);
    view.querySelector("button")?.click();
  });
  return details;
}

/** @param {Package} one */
function packageRow(one) {
  const cells = { Package: one.name, Version: one.version, "Newer version": one.new_version, Architecture: one.arch };
  return el(
    "tr",
    { role: "row", "data-package": one.name },
    ...Object.entries(cells).map(([label, text]) => el("td", { role: "cell", "data-label": label, class: "mono" }, text || "–")),
  );
}

/**
 * @param {string} kind
 * @param {string[]} heads
 */
function emptyTable(kind, heads) {
  const body = el("tbody", { role: "rowgroup" });
  const names = el("tr", { role: "row" }, ...heads.map((head) => el("th", { role: "columnheader", scope: "col" }, head)));
  return { table: el("table", { class: `list ${kind}`, role: "table" }, el("thead", { role: "rowgroup" }, names), body), body };
}

/**
 * A list with a button for the part that follows, while there is one.
 *
 * @param {HTMLElement} table
 * @param {HTMLElement} body where rows go
 * @param {string} path ends so that a parameter may follow
 * @param {string | null} next the `after` of the part that follows
 * @param {(item: any) => HTMLElement} row
 * @param {string} words
 */
function inParts(table, body, path, next, row, words) {
  const button = el("button", { class: "button", type: "button", "data-action": "more" }, words);
  const problem = el("p", { class: "form-problem", role: "alert", hidden: "" });
  const view = el("div", { class: "parts" }, table, problem, next !== null && button);
  let after = next;
  button.addEventListener("click", async () => {
    if (after === null || button.getAttribute("aria-disabled") === "true") return;
    button.setAttribute("aria-disabled", "true");
    problem.hidden = true;
    try {
      const part = await get(`${path}&after=${encodeURIComponent(after)}`);
      const rows = part.items.map(row);
      body.append(...rows);
      after = part.next;
      if (after === null) {
        button.remove();
        // The focus was on the button: it goes on where the reader does.
        rows[0]?.setAttribute("tabindex", "-1");
        rows[0]?.focus({ preventScroll: true });
      }
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      problem.textContent = error.message;
      problem.hidden = false;
    } finally {
      button.removeAttribute("aria-disabled");
    }
  });
  return view;
}

/** What a row says of a change; nothing of a finding that was there before. @type {Record<string, string>} */
const CHANGES = { new: "new", reappeared: "reappeared", severity_changed: "was" };

/** @param {Finding & Partial<Scan["findings"][number]>} finding */
function findingRow(finding) {
  const change = finding.change && el("span", { class: "tag" }, [CHANGES[finding.change], finding.severity_before].filter(Boolean).join(" "));
  const link = finding.links.find((one) => /^https?:/i.test(one));
  const score = finding.score === null ? null : el("span", { class: "quiet score", title: "CVSS score" }, finding.score.toFixed(1));
  return el(
    "tr",
    { role: "row", "data-cve": finding.cve_id },
    el(
      "td",
      { role: "cell", "data-label": "Severity" },
      el("div", {}, el("span", { class: `badge ${finding.severity}` }, finding.severity), score),
    ),
    el(
      "td",
      { role: "cell", "data-label": "CVE" },
      link
        ? el("a", { class: "link name mono", href: link, target: "_blank", rel: "noopener noreferrer" }, finding.cve_id)
        : el("span", { class: "name mono" }, finding.cve_id),
      change && " ",
      change,
      finding.title && el("p", { class: "why" }, finding.title),
    ),
    el("td", { role: "cell", "data-label": "Package", class: "mono" }, ...lines(finding.packages.map((one) => one.name))),
    el("td", { role: "cell", "data-label": "Fixed in", class: "mono" }, ...lines(finding.packages.map(fixedIn))),
  );
}

/** @param {Finding["packages"][number]} one */
function fixedIn(one) {
  return one.not_fixed_yet ? "not fixed yet" : one.fixed_in || "–";
}

/** @param {string[]} texts */
function lines(texts) {
  return texts.map((text) => el("div", {}, text));
}

/**
 * @param {ApiError} error
 * @param {() => void} retry
 */
function problemView(error, retry) {
  const gone = error.status === 404;
  const view = el("div", { role: "alert" }, el("p", { class: "form-problem" }, gone ? "There is no such run, or you may not see it." : error.message));
  if (!gone) {
    const button = el("button", { class: "button", type: "button" }, "Try again");
    button.addEventListener("click", retry);
    view.append(button);
  }
  return view;
}
