/** The dialog in which an operator creates a task. */

import { ApiError, post } from "./api.js";
import { el, need } from "./dom.js";
import { scheduleInWords } from "./schedule.js";

/** @import { Host, Task } from "./types.js" */

/** Fields of the API and the controls that hold them. */
const CONTROLS = { name: "task-name", host_id: "task-host", scan_type: "task-type", cron: "task-cron", timezone: "task-zone", time_limit_minutes: "task-limit" };
const MOST_MINUTES = 1440;

/** Asks for a task and sends it. */
export class TaskForm {
  #dialog = need("task-dialog", HTMLDialogElement);
  #form = need("task-form", HTMLFormElement);
  #name = need("task-name", HTMLInputElement);
  #host = need("task-host", HTMLSelectElement);
  #type = need("task-type", HTMLSelectElement);
  #preset = need("task-preset", HTMLSelectElement);
  #cron = need("task-cron", HTMLInputElement);
  #zone = need("task-zone", HTMLInputElement);
  #limit = need("task-limit", HTMLInputElement);
  #onCreated;

  /** @param {(task: Task) => void} onCreated */
  constructor(onCreated) {
    this.#onCreated = onCreated;
    need("task-zones", HTMLDataListElement).append(
      ...["UTC", ...Intl.supportedValuesOf("timeZone")].map((zone) => el("option", { value: zone })),
    );
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#submit();
    });
    this.#form.addEventListener("input", () => this.#describe());
  }

  /**
   * @param {readonly Host[]} hosts
   * @param {number} [hostId] the host that is chosen already
   */
  open(hosts, hostId) {
    this.#form.reset();
    this.#host.replaceChildren(...hosts.map((host) => el("option", { value: String(host.id) }, host.name)));
    if (hostId !== undefined) this.#host.value = String(hostId);
    this.#zone.value = new Intl.DateTimeFormat().resolvedOptions().timeZone;
    this.#showProblems(new Map(), hosts.length === 0 ? "There is no host to scan yet." : "");
    this.#describe();
    this.#dialog.showModal();
    this.#name.focus();
  }

  get #cronText() {
    const chosen = this.#preset.value;
    return (chosen === "custom" ? this.#cron.value.trim() : chosen) || null;
  }

  /** Show the fields that the chosen schedule needs, and say it in words. */
  #describe() {
    const byHand = this.#preset.value === "";
    need("task-cron-field", HTMLElement).hidden = this.#preset.value !== "custom";
    need("task-zone-field", HTMLElement).hidden = byHand;
    const cron = this.#cronText;
    need("task-words", HTMLElement).textContent = byHand
      ? "Runs only when somebody presses Run."
      : cron
        ? `${scheduleInWords(cron)}, ${this.#zone.value} time.`
        : "Five fields: minute, hour, day of the month, month, day of the week.";
  }

  async #submit() {
    const problems = this.#check();
    this.#showProblems(problems, "");
    if (problems.size > 0) return;
    const button = this.#form.querySelector("button[type=submit]");
    if (!(button instanceof HTMLButtonElement) || button.disabled) return;
    button.disabled = true;
    try {
      const task = await post("/api/scheduled-tasks", {
        name: this.#name.value.trim(),
        host_id: Number(this.#host.value),
        scan_type: this.#type.value,
        cron: this.#cronText,
        timezone: this.#cronText ? this.#zone.value.trim() : "UTC",
        time_limit_minutes: this.#limit.value ? Number(this.#limit.value) : null,
      });
      this.#dialog.close();
      this.#onCreated(task);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#showProblems(error.fields, error.fields.size > 0 ? "" : error.message);
    } finally {
      button.disabled = false;
    }
  }

  /** What the server would refuse for sure; it judges the rest. */
  #check() {
    /** @type {Map<string, string>} */
    const problems = new Map();
    if (!this.#name.value.trim()) problems.set("name", "Give the task a name.");
    if (!this.#host.value) problems.set("host_id", "Choose a host.");
    if (this.#preset.value === "custom" && !this.#cronText) problems.set("cron", "Write five cron fields, for example 30 4 * * 1.");
    if (this.#cronText && !this.#zone.value.trim()) problems.set("timezone", "Name a time zone, for example Europe/Berlin.");
    const minutes = Number(this.#limit.value);
    // What is no number at all has an empty value.
    if (this.#limit.validity.badInput || (this.#limit.value && !(Number.isInteger(minutes) && minutes >= 1 && minutes <= MOST_MINUTES))) {
      problems.set("time_limit_minutes", `Give whole minutes from 1 to ${MOST_MINUTES}, or leave it empty.`);
    }
    return problems;
  }

  /**
   * @param {ReadonlyMap<string, string>} fields
   * @param {string} general
   */
  #showProblems(fields, general) {
    let first = true;
    for (const [field, id] of Object.entries(CONTROLS)) {
      const control = need(id, HTMLElement);
      const text = fields.get(field) ?? "";
      need(`${id}-problem`, HTMLElement).textContent = text;
      if (text) control.setAttribute("aria-invalid", "true");
      else control.removeAttribute("aria-invalid");
      if (text && first) {
        first = false;
        control.focus();
      }
    }
    const unknown = [...fields].filter(([field]) => !(field in CONTROLS)).map(([, text]) => text);
    const box = need("task-problem", HTMLElement);
    box.textContent = [general, ...unknown].filter(Boolean).join(" ");
    box.hidden = box.textContent === "";
  }
}
