/** Times as people read them: relative to now, with the exact value in the reader's own zone on hover. */

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const dayAndClock = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });
const exact = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "long" });

/**
 * Read a time of the API. The contract's `timestamp` has no zone and means UTC.
 *
 * @param {string} text ISO 8601
 * @returns {number} milliseconds since 1970, NaN when it is no time
 */
export function parseTime(text) {
  return Date.parse(/(?:Z|[+-]\d\d:?\d\d)$/i.test(text) ? text : `${text}Z`);
}

/**
 * Say how far away a time is: "now", "12 s ago", "in 5 min", "3 days ago".
 *
 * @param {number} then milliseconds
 * @param {number} now milliseconds
 */
export function ago(then, now) {
  const seconds = Math.round((then - now) / 1000);
  const size = distance(Math.abs(seconds));
  if (!size) return "now";
  return seconds < 0 ? `${size} ago` : `in ${size}`;
}

/** @param {number} seconds */
function distance(seconds) {
  if (seconds < 5) return "";
  if (seconds < MINUTE) return `${seconds} s`;
  if (seconds < HOUR) return `${Math.floor(seconds / MINUTE)} min`;
  if (seconds < 2 * DAY) return `${Math.floor(seconds / HOUR)} h`;
  return `${Math.floor(seconds / DAY)} days`;
}

/**
 * Say how long something has taken: "8 s", "2 min 05 s", "1 h 02 min".
 *
 * @param {number} milliseconds
 */
export function duration(milliseconds) {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  if (seconds < MINUTE) return `${seconds} s`;
  if (seconds < HOUR) return `${Math.floor(seconds / MINUTE)} min ${twoDigits(seconds % MINUTE)} s`;
  return `${Math.floor(seconds / HOUR)} h ${twoDigits(Math.floor((seconds % HOUR) / MINUTE))} min`;
}

/**
 * The exact time in the reader's zone, for the hover text.
 *
 * @param {number} milliseconds
 */
export function exactTime(milliseconds) {
  return exact.format(milliseconds);
}

/**
 * A time to the second in the reader's zone; with its day when that was not less than half a day ago.
 *
 * @param {number} milliseconds
 * @param {number} now milliseconds
 */
export function clockTime(milliseconds, now) {
  return (now - milliseconds < (DAY / 2) * 1000 ? clock : dayAndClock).format(milliseconds);
}

/** @param {number} number */
function twoDigits(number) {
  return String(number).padStart(2, "0");
}
