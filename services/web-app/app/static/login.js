/** The sign-in page. */

import { ApiError, post } from "./api.js";
import { need } from "./dom.js";
import { safeNext } from "./paths.js";

const form = need("login", HTMLFormElement);
const username = need("username", HTMLInputElement);
const password = need("password", HTMLInputElement);
const problem = need("problem", HTMLElement);
const button = need("sign-in", HTMLButtonElement);

/**
 * Why signing in did not work, as a sentence.
 *
 * @param {ApiError} error
 */
function reason(error) {
  switch (error.status) {
    case 401:
      return "The user name or the password is wrong.";
    case 429:
      return `Too many failed attempts. Try again ${waitInWords(error.retryAfter)}.`;
    default:
      return error.message;
  }
}

/** @param {number | null} seconds */
function waitInWords(seconds) {
  if (seconds === null) return "later";
  if (seconds < 60) return `in ${seconds} s`;
  return `in ${Math.ceil(seconds / 60)} min`;
}

/**
 * @param {string} text
 * @param {HTMLInputElement} field what to correct
 */
function show(text, field) {
  problem.textContent = text;
  problem.hidden = false;
  field.focus();
  field.select();
}

async function signIn() {
  problem.hidden = true;
  if (!username.value.trim()) return show("Write your user name.", username);
  if (!password.value) return show("Write your password.", password);
  if (button.disabled) return;
  button.disabled = true;
  try {
    await post("/api/auth/login", { username: username.value.trim(), password: password.value });
    const next = safeNext(new URLSearchParams(location.search).get("next"), location.origin);
    // A browser carries the #… of the page that sent it here along.
    location.assign(next.includes("#") ? next : next + location.hash);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    show(reason(error), password);
  } finally {
    button.disabled = false;
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  void signIn();
});
need("late", HTMLElement).remove();
button.disabled = false;
