/** Cron expressions in words. Those that have no short sentence are shown as they are. */

const WEEKDAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const SHORT = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/**
 * Say when a task runs, without its time zone.
 *
 * @param {string | null} cron five fields, or null for a task that only people start
 */
export function scheduleInWords(cron) {
  if (!cron) return "By hand only";
  const fields = cron.trim().split(/\s+/);
  const [minute, hour, day, month, weekday] = fields;
  if (fields.length !== 5 || !minute || !hour || !day || !month || !weekday || month !== "*") return `Cron ${cron}`;
  const days = dayInWords(day, weekday);
  const times = timeInWords(minute, hour);
  if (!days || !times) return `Cron ${cron}`;
  if (days === "every day") return times.startsWith("at ") ? `Every day ${times}` : capital(times);
  return times.startsWith("at ") ? capital(`${days} ${times}`) : capital(`${times}, ${days}`);
}

/**
 * @param {string} minute
 * @param {string} hour
 * @returns {string | null}
 */
function timeInWords(minute, hour) {
  if (hour === "*") {
    if (minute === "*") return "every minute";
    const step = stepOf(minute, 60);
    if (step) return step === 1 ? "every minute" : `every ${step} minutes`;
    return isNumber(minute, 59) ? `every hour at minute ${Number(minute)}` : null;
  }
  if (!isNumber(minute, 59)) return null;
  const step = stepOf(hour, 24);
  if (step) return step === 1 ? `every hour at minute ${Number(minute)}` : `every ${step} hours at minute ${Number(minute)}`;
  const hours = hour.split(",");
  if (!hours.every((one) => isNumber(one, 23))) return null;
  return `at ${list(hours.map((one) => `${one.padStart(2, "0")}:${minute.padStart(2, "0")}`))}`;
}

/**
 * @param {string} day
 * @param {string} weekday
 * @returns {string | null}
 */
function dayInWords(day, weekday) {
  if (day === "*" && weekday === "*") return "every day";
  if (day === "*") {
    const range = weekday.split("-").map(weekdayNumber);
    if (range.length === 2 && range.every((one) => one !== null)) {
      return `${WEEKDAYS[range[0] ?? 0]} to ${WEEKDAYS[range[1] ?? 0]}`;
    }
    const days = weekday.split(",").map(weekdayNumber);
    return days.every((one) => one !== null) ? `every ${list(days.map((one) => WEEKDAYS[one ?? 0] ?? ""))}` : null;
  }
  const days = day.split(",");
  if (weekday !== "*" || !days.every((one) => isNumber(one, 31))) return null;
  return `on day ${list(days.map((one) => String(Number(one))))} of the month`;
}

/**
 * @param {string} text
 * @returns {number | null}
 */
function weekdayNumber(text) {
  if (isNumber(text, 7)) return Number(text);
  const index = SHORT.indexOf(text.toLowerCase());
  return index < 0 ? null : index;
}

/**
 * The N of a field that says every N, or 0. A step that does not divide its circle is not evenly spaced.
 *
 * @param {string} field
 * @param {number} circle
 */
function stepOf(field, circle) {
  const step = Number(/^\*\/(\d{1,2})$/.exec(field)?.[1] ?? 0);
  return step > 0 && circle % step === 0 ? step : 0;
}

/**
 * @param {string} text
 * @param {number} most
 */
function isNumber(text, most) {
  return /^\d{1,2}$/.test(text) && Number(text) <= most;
}

/** @param {string[]} words */
function list(words) {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}

/** @param {string} text */
function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
