/** Small helpers around the DOM. Data only ever becomes text or an attribute, never HTML. */

import { ago, duration, exactTime, parseTime } from "./time.js";

/** What each row shows, to tell whether it must be drawn anew. @type {WeakMap<Element, string>} */
const signs = new WeakMap();

const SVG = "http://www.w3.org/2000/svg";

/** @typedef {Node | string | null | undefined | false} Child  what is empty is left out */

/**
 * Make an element: `el("a", { class: "link", href: "#run-1" }, "Findings")`.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, string | boolean | null | undefined>} attributes  false, null and undefined are left out
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(.../** @type {(Node | string)[]} */ (children.filter(Boolean)));
  return element;
}

/**
 * An icon of the page (icons.svg is part of it, so that icons need no network). Icons only repeat what words next to them say.
 *
 * @param {string} name
 */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/**
 * A sentence whose commands stand between backticks, as what an element is made of. A command breaks between its words only, so that
 * nobody reads an option in two halves.
 *
 * @param {string} sentence
 * @returns {(HTMLElement | string)[]}
 */
export function prose(sentence) {
  return sentence.split("`").map((part, place) => (place % 2 === 0 ? part : el("code", {}, ...words(part))));
}

/** @param {string} command */
function words(command) {
  return command.split(/(?<= )/).map((word) => el("span", { class: "word" }, word));
}

/**
 * The element with an id that the template has.
 *
 * @template {Element} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
export function need(id, type) {
  const element = document.getElementById(id);
  if (!(element instanceof type)) throw new Error(`The page has no ${type.name} #${id}`);
  return element;
}

/**
 * A time that `tick` keeps true: how far away it is, or how long since.
 *
 * @param {string} iso
 * @param {"ago" | "elapsed"} kind
 */
export function timeElement(iso, kind = "ago") {
  const at = parseTime(iso);
  if (Number.isNaN(at)) return el("span", {}, iso);
  const time = el("time", { datetime: new Date(at).toISOString(), title: exactTime(at), "data-tick": kind });
  setTime(time, Date.now());
  return time;
}

/** Bring all times on the page up to date. */
export function tick() {
  const now = Date.now();
  for (const time of document.querySelectorAll("time[data-tick]")) setTime(/** @type {HTMLTimeElement} */ (time), now);
}

/**
 * @param {HTMLTimeElement} time
 * @param {number} now
 */
function setTime(time, now) {
  const at = Date.parse(time.dateTime);
  const text = time.dataset["tick"] === "elapsed" ? duration(now - at) : ago(at, now);
  if (time.textContent !== text) time.textContent = text;
}

/**
 * Make the children of `parent` show `items`, touching only rows whose content changed. The focus stays where it is.
 *
 * @template T
 * @param {Element} parent
 * @param {readonly T[]} items
 * @param {(item: T) => { key: string, sign: unknown, make: () => HTMLElement }} view  rows of equal sign look the same
 */
export function reconcile(parent, items, view) {
  const old = new Map([...parent.children].map((row) => [/** @type {HTMLElement} */ (row).dataset["key"], row]));
  const views = items.map(view);
  const wanted = new Set(views.map(({ key }) => key));
  // First, so that those behind them stay where they are: a row that is moved loses its focus and its place in its text.
  for (const [key, row] of old) if (key === undefined || !wanted.has(key)) row.remove();
  let place = parent.firstElementChild;
  for (const { key, sign, make } of views) {
    const signed = JSON.stringify(sign);
    let row = old.get(key);
    if (!row || signs.get(row) !== signed) {
      const fresh = make();
      fresh.dataset["key"] = key;
      signs.set(fresh, signed);
      if (row) {
        if (place === row) place = fresh;
        replaceKeepingFocus(row, fresh);
      }
      row = fresh;
    }
    if (row === place) place = row.nextElementSibling;
    else parent.insertBefore(row, place);
  }
}

/**
 * @param {Element} old
 * @param {HTMLElement} fresh
 */
function replaceKeepingFocus(old, fresh) {
  const focused = document.activeElement;
  const action = focused && old.contains(focused) ? focused.getAttribute("data-action") : null;
  old.replaceWith(fresh);
  const next = action ? fresh.querySelector(`[data-action="${CSS.escape(action)}"]`) : null;
  if (next instanceof HTMLElement) next.focus({ preventScroll: true });
}
