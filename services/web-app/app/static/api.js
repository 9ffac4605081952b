/** Calls to the API. Every failure is an ApiError whose message is a sentence for people. */

const TIMEOUT = 15_000;

/** A call that did not work. `status` is 0 when the server was not reached. */
export class ApiError extends Error {
  /**
   * @param {string} message a sentence
   * @param {number} status
   * @param {{ retryAfter?: number | null, fields?: Map<string, string> }} [more]
   */
  constructor(message, status, more = {}) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    /** Seconds to wait, where the server said so. */
    this.retryAfter = more.retryAfter ?? null;
    /** What is wrong with which field of the body. */
    this.fields = more.fields ?? new Map();
  }
}

/**
 * GET a JSON resource.
 *
 * @param {string} path
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 * @throws {ApiError}
 */
export function get(path, signal) {
  return call(path, { method: "GET", signal: signal ?? null });
}

/**
 * POST a JSON body.
 *
 * @param {string} path
 * @param {unknown} [body]
 * @returns {Promise<any>} the answer, or null when it has no body
 * @throws {ApiError}
 */
export function post(path, body) {
  if (body === undefined) return call(path, { method: "POST" });
  return call(path, { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } });
}

/**
 * PATCH with a JSON body.
 *
 * @param {string} path
 * @param {unknown} body
 * @returns {Promise<any>}
 * @throws {ApiError}
 */
export function patch(path, body) {
  return call(path, { method: "PATCH", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } });
}

/**
 * @param {string} path
 * @param {RequestInit} init
 */
async function call(path, init) {
  const limit = AbortSignal.timeout(TIMEOUT);
  const signal = init.signal ? AbortSignal.any([init.signal, limit]) : limit;
  let response;
  try {
    response = await fetch(path, { ...init, signal, cache: "no-store", credentials: "same-origin" });
  } catch {
    throw new ApiError("The server cannot be reached. Check the network and try again.", 0);
  }
  if (!response.ok) throw await problem(response);
  if (response.status === 204) return null;
  try {
    return await response.json();
  } catch {
    // It broke off half-way, or something in between (the sign-in page of a network, say) answered in its place.
    throw new ApiError("The answer did not come from the server as a whole. Check the network and try again.", 0);
  }
}

/**
 * Read an RFC 9457 problem; a proxy in between may have answered with something else.
 *
 * @param {Response} response
 */
async function problem(response) {
  /** @type {{ title?: unknown, detail?: unknown, errors?: unknown }} */
  let body = {};
  try {
    body = Object(await response.json());
  } catch {
    // Not JSON: the status alone has to do.
  }
  const sentence = typeof body.detail === "string" ? body.detail : typeof body.title === "string" ? body.title : "";
  const wait = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
  return new ApiError(sentence || `The server answered with an error (${response.status}).`, response.status, {
    retryAfter: Number.isNaN(wait) ? null : wait,
    fields: fieldErrors(body.errors),
  });
}

/** @param {unknown} errors */
function fieldErrors(errors) {
  /** @type {Map<string, string>} */
  const fields = new Map();
  for (const error of Array.isArray(errors) ? errors : []) {
    if (typeof error?.field === "string" && typeof error?.detail === "string") fields.set(error.field, error.detail);
  }
  return fields;
}
