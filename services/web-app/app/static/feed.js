/**
 * The event feed: a WebSocket that comes back, with polling in its place while it cannot.
 *
 * The feed owns one cursor: the id up to which everything was seen. Socket and polling both continue from it, so a
 * reconnect or a change between them neither loses nor repeats an event. This file and backoff.js are all that another
 * page or program needs; docs/client.md has examples.
 */

import { backoff } from "./backoff.js";

/** @import { Envelope } from "./messages.js" */

export const TRIES = 5;
export const POLL_INTERVAL = 30_000;
/** Three heartbeats of the server's default; a half-open connection says nothing and would look alive for ever. */
export const SILENCE_LIMIT = 45_000;
export const HANDSHAKE_LIMIT = 10_000;
/** How long a ping that asks "are you still there?" may stay unanswered. */
export const PING_LIMIT = 5000;
/** How long a connection must last before earlier failures are forgotten. */
export const STABLE_AFTER = 10_000;
const REMEMBERED_IDS = 2000;

/** Close codes that ask for something else than coming back with the cursor, as 1006, 1012 and 4008 do. */
const CLOSE = { signedOut: 4001, rights: 4003, abuse: 4009, limit: 4029 };

/** How long an answer to a GET may take. */
const REQUEST_LIMIT = 15_000;

/**
 * How the feed is. `staleSince` (milliseconds since 1970) says since when something may be missing from what was handed
 * on; null while nothing is.
 *
 * - `connecting`: a socket is being opened, or everything loaded anew
 * - `catching_up`: what was missed is being read; `left` is how many events are still to come, null where unknown
 * - `live`: events come at once
 * - `delayed`: events come up to 2 s late, because the server is not woken and looks for them every second
 * - `stale`: the socket is open, but the server cannot read its event log
 * - `reconnecting`: the socket was lost; the next try is at `retryAt`
 * - `polling`: no socket gets through (`socket`), too many are open (`limit`), or nothing gets through (`server`)
 * - `signed_out`: the end; nothing is tried again
 *
 * @typedef {{ kind: "connecting", staleSince: number | null }
 *   | { kind: "catching_up", left: number | null, staleSince: number | null }
 *   | { kind: "live" | "delayed", staleSince: null }
 *   | { kind: "stale", staleSince: number }
 *   | { kind: "reconnecting", retryAt: number, staleSince: number }
 *   | { kind: "polling", why: "socket" | "server" | "limit", staleSince: number | null }
 *   | { kind: "signed_out", staleSince: number }} Status
 *
 * @typedef {object} Answer
 * @property {number} status  0 when the server was not reached
 * @property {any} body
 * @property {number | null} retryAfter  seconds
 *
 * @typedef {object} Options
 * @property {string} [cursor]  what the caller has is true at this id; without it, `onResync` is asked first
 * @property {(event: Envelope) => void} onEvent  each event once, in order; ignore types that you do not know
 * @property {(status: Status) => void} [onStatus]  each change
 * @property {() => Promise<string>} onResync  loads everything anew; returns the cursor it is true at. Rejects with an
 *   error whose `status` is 401 when nobody is signed in
 * @property {string} [url]  where the server is; by default where the page came from
 * @property {Record<string, string>} [headers]  what programs sign in with; a browser's sockets cannot send any
 * @property {(path: string) => WebSocket} [openSocket]
 * @property {(path: string) => Promise<Answer>} [request]  a GET that never rejects
 * @property {() => number} [random]
 */

/** Follows the server's events until `stop`. */
export class Feed {
  #options;
  #openSocket;
  #request;
  #random;
  /** @type {string | undefined} */ #cursor;
  /** Whether everything has to be loaded before a socket or a poll can go on from the cursor. */
  #unloaded;
  /** What was told last. @type {Status | null} */ #status = null;
  /** How the server itself is, as its last heartbeat said. @type {"live" | "delayed" | "stale"} */ #server = "live";
  /** When everything that had happened had been handed on, for all we know. */
  #trueAt = Date.now();
  /** Whether something may have happened since. */
  #behind = false;
  /** Missed events that are still to come over this socket; null before it is known. @type {number | null} */ #left = null;
  /** @type {WebSocket | null} */ #socket = null;
  /** @type {Set<string>} */ #seen = new Set();
  #failures = 0;
  /** Whether everything was loaded anew since the feed was last live. */
  #resynced = false;
  #stopped = true;
  /** Grows with every decision on what comes next, so that an answer to an older question decides nothing. */
  #round = 0;
  #polling = false;
  /** @type {"socket" | "limit"} */ #why = "socket";
  /** Whether the last poll was answered; null before the first answer. @type {boolean | null} */ #reached = null;
  /** Grows whenever polling stops, so that an answer on its way is dropped. */
  #pollRound = 0;
  #timers = {
    retry: new Timer(),
    silence: new Timer(),
    stable: new Timer(),
    poll: new Timer(),
  };

  /** @param {Options} options */
  constructor(options) {
    const { url = globalThis.location?.origin, headers } = options;
    this.#options = options;
    this.#openSocket = options.openSocket ?? ((/** @type {string} */ path) => openSocket(url, path, headers));
    this.#request = options.request ?? ((/** @type {string} */ path) => request(url, path, headers));
    this.#random = options.random ?? Math.random;
    this.#cursor = options.cursor;
    this.#unloaded = options.cursor === undefined;
  }

  /** The id up to which everything was handed on. A feed that is made with it later goes on from here. */
  get cursor() {
    return this.#cursor;
  }

  /** @returns {Status} */
  get status() {
    return this.#status ?? { kind: "connecting", staleSince: null };
  }

  /** Connect, and stay connected. */
  start() {
    this.#stopped = false;
    this.#connect();
  }

  /** Close the socket and do nothing more. */
  stop() {
    this.#stopped = true;
    this.#round += 1;
    this.#stopPolling();
    for (const timer of Object.values(this.#timers)) timer.clear();
    this.#drop();
  }

  /** The network or the tab came back: try now instead of later, and make sure that a quiet socket is alive. */
  wake() {
    if (this.#stopped) return;
    if (this.#timers.retry.pending) {
      this.#connect();
      if (this.#polling) this.#poll();
    } else if (this.#socket?.readyState === 1) {
      this.#socket.send("ping");
      this.#timers.silence.set(PING_LIMIT, () => this.#lost());
    }
  }

  #connect() {
    if (this.#unloaded) return void this.#resync();
    this.#round += 1;
    this.#timers.retry.clear();
    this.#drop();
    if (!this.#polling) this.#tell({ kind: "connecting", staleSince: this.#staleSince });
    const socket = this.#openSocket(`/api/ws?since=${encodeURIComponent(this.#cursor ?? "")}`);
    let opened = false;
    this.#socket = socket;
    this.#server = "live";
    this.#left = null;
    this.#timers.silence.set(HANDSHAKE_LIMIT, () => this.#lost());
    socket.onopen = () => {
      opened = true;
    };
    socket.onmessage = (message) => {
      if (this.#socket === socket) this.#read(message.data);
    };
    socket.onclose = (event) => {
      if (this.#socket !== socket) return;
      this.#forget();
      void this.#closed(event.code, opened);
    };
  }

  /**
   * @param {unknown} text
   */
  #read(text) {
    this.#timers.silence.set(SILENCE_LIMIT, () => this.#lost());
    if (text === "pong") return this.#fresh();
    const message = parse(text);
    if (!message) return;
    switch (message.type) {
      case "hello":
        return this.#tellHealth();
      case "resumed":
        return this.#resumed(message.data);
      case "heartbeat":
        // The server writes in order: what came before this id has been read.
        if (message.id) this.#cursor = message.id;
        return this.#heard(message.data);
      case "resync_required":
        return void this.#resync();
      case "reconnect":
        this.#drop();
        return this.#fail(reconnectDelay(message.data));
      case "error":
        console.warn("The server refused a message of this page", message.data);
        return;
      case "snapshot":
        return; // Not asked for: whoever loads everything does so by `onResync`.
      default:
        this.#deliver(message);
        this.#countDown(message);
    }
  }

  /**
   * The log was read: exactly the missed events follow.
   *
   * @param {unknown} data
   */
  #resumed(data) {
    this.#left = number(data, "events") ?? 0;
    if (this.#left > 0) this.#behind = true;
    this.#resynced = false;
    this.#stopPolling();
    this.#timers.stable.set(STABLE_AFTER, () => {
      this.#failures = 0;
    });
    this.#fresh();
  }

  /**
   * A heartbeat comes after everything that was missed. Without data (of an older server) it means that all is well.
   *
   * @param {unknown} data
   */
  #heard(data) {
    const state = Object(data).state;
    if (state === "stale" && this.#server !== "stale") this.#trueAt = Date.now() - (number(data, "age") ?? 0) * 1000;
    this.#server = state === "stale" || state === "delayed" ? state : "live";
    if (this.#left !== null) this.#left = 0;
    this.#fresh();
  }

  /** @param {Envelope} message */
  #countDown({ type, id, data }) {
    const events = id === undefined ? 0 : type === "digest" ? (number(data, "events") ?? 1) : 1;
    if (this.#left) this.#left = Math.max(0, this.#left - events);
    this.#fresh();
  }

  /** Something came from the server: unless it is behind itself, or something is still to come, nothing is missing. */
  #fresh() {
    if (this.#left === 0 && this.#server !== "stale") {
      this.#behind = false;
      this.#trueAt = Date.now();
    }
    this.#tellHealth();
  }

  /** Tell how the open socket is. */
  #tellHealth() {
    if (this.#server === "stale") this.#tell({ kind: "stale", staleSince: this.#trueAt });
    else if (this.#left !== 0) this.#tell({ kind: "catching_up", left: this.#left, staleSince: this.#staleSince });
    else this.#tell({ kind: this.#server, staleSince: null });
  }

  get #staleSince() {
    return this.#behind ? this.#trueAt : null;
  }

  /**
   * Hand an event on, once. One without an id has no place in the order and moves no cursor.
   *
   * @param {Envelope} event
   */
  #deliver(event) {
    if (event.id !== undefined) {
      if (this.#seen.has(event.id)) return;
      this.#seen.add(event.id);
      if (this.#seen.size > REMEMBERED_IDS) this.#seen.delete(/** @type {string} */ (this.#seen.values().next().value));
      this.#cursor = event.id;
    }
    this.#options.onEvent(event);
  }

  /** The socket is silent: treat it as closed without waiting for TCP to notice. */
  #lost() {
    this.#drop();
    this.#fail();
  }

  /**
   * @param {number} code
   * @param {boolean} opened whether the handshake was accepted
   */
  async #closed(code, opened) {
    if (code === CLOSE.signedOut) return this.#signOut();
    if (code === CLOSE.rights) return this.#resync();
    if (code === CLOSE.limit) return this.#fallBack("limit");
    if (code === CLOSE.abuse) return this.#fallBack("socket");
    if (opened) return this.#fail();
    // A browser does not say why a handshake was refused. This tells "sign in again" from "no network".
    const round = this.#round;
    const answer = await this.#request("/api/auth/me");
    if (this.#round !== round) return;
    if (answer.status === 401) return this.#signOut();
    this.#fail((answer.retryAfter ?? 0) * 1000);
  }

  /**
   * Come back later each time; after five tries without a stable connection, poll.
   *
   * @param {number} atLeast milliseconds that the server asked for
   */
  #fail(atLeast = 0) {
    if (this.#stopped) return;
    this.#failures += 1;
    // Without a place in the log there is nothing to poll from: loading everything is what is tried again.
    if (this.#failures > TRIES && !this.#unloaded) this.#fallBack("socket");
    else this.#retryIn(atLeast + backoff(this.#failures - 1, this.#random));
  }

  /** @param {number} delay milliseconds */
  #retryIn(delay) {
    if (this.#stopped) return;
    this.#round += 1;
    this.#behind = true;
    if (this.#polling) this.#tellPolling();
    else this.#tell({ kind: "reconnecting", retryAt: Date.now() + delay, staleSince: this.#trueAt });
    this.#timers.retry.set(delay, () => this.#connect());
  }

  /**
   * Poll, and go on trying the socket in the background.
   *
   * @param {"socket" | "limit"} why
   */
  #fallBack(why) {
    if (this.#stopped) return;
    this.#failures = TRIES;
    this.#why = why;
    if (!this.#polling) {
      this.#polling = true;
      this.#reached = null;
      this.#poll();
    }
    this.#retryIn(POLL_INTERVAL * (0.5 + this.#random() / 2));
  }

  #stopPolling() {
    this.#polling = false;
    this.#pollRound += 1;
    this.#timers.poll.clear();
  }

  #tellPolling() {
    if (this.#reached) this.#tell({ kind: "polling", why: this.#why, staleSince: null });
    else if (this.#reached === false) this.#tell({ kind: "polling", why: "server", staleSince: this.#trueAt });
  }

  #poll() {
    this.#pollRound += 1;
    this.#timers.poll.set(POLL_INTERVAL, () => this.#poll());
    void this.#readMissed(this.#pollRound);
  }

  /**
   * Read events after the cursor, page by page.
   *
   * @param {number} round
   */
  async #readMissed(round) {
    for (let page = 0; ; page += 1) {
      const before = this.#cursor;
      const askedAt = Date.now();
      const answer = await this.#request(`/api/notifications?since=${encodeURIComponent(before ?? "")}`);
      if (this.#pollRound !== round) return;
      if (answer.status === 401) return this.#signOut();
      if (answer.status === 410) return this.#resync();
      this.#reached = answer.status === 200 && Array.isArray(answer.body?.items);
      if (!this.#reached) return this.#tellPolling();
      for (const event of answer.body.items) this.#deliver(event);
      const next = answer.body.next;
      if (typeof next === "string") this.#cursor = next;
      if (next === this.#cursor && next !== before && answer.body.items.length > 0) {
        if (page > 0) this.#tell({ kind: "catching_up", left: null, staleSince: this.#trueAt });
        continue;
      }
      this.#trueAt = askedAt;
      return this.#tellPolling();
    }
  }

  /** The log no longer reaches back to the cursor, or rights changed: load everything and go on from there. */
  async #resync() {
    this.#round += 1;
    this.#unloaded = true;
    this.#drop();
    this.#stopPolling();
    this.#timers.retry.clear();
    this.#tell({ kind: "connecting", staleSince: this.#staleSince });
    const askedAt = Date.now();
    try {
      this.#cursor = await this.#options.onResync();
    } catch (error) {
      if (error instanceof Error && "status" in error && error.status === 401) return this.#signOut();
      return this.#fail();
    }
    this.#unloaded = false;
    if (this.#stopped) return;
    this.#trueAt = askedAt;
    this.#behind = false;
    const again = this.#resynced;
    this.#resynced = true;
    if (!again) return this.#connect();
    // A server that asks for this again and again is asked ever less often; but the socket always comes next.
    this.#failures = Math.min(this.#failures, TRIES - 1);
    this.#fail();
  }

  #signOut() {
    if (this.#stopped) return;
    this.stop();
    this.#tell({ kind: "signed_out", staleSince: this.#trueAt });
  }

  /** Close the socket, if any, and hear nothing more from it. */
  #drop() {
    const socket = this.#socket;
    this.#forget();
    if (socket && socket.readyState < 2) socket.close();
  }

  #forget() {
    this.#socket = null;
    this.#timers.silence.clear();
    this.#timers.stable.clear();
  }

  /** @param {Status} status */
  #tell(status) {
    if (JSON.stringify(status) === JSON.stringify(this.#status)) return;
    this.#status = status;
    this.#options.onStatus?.(status);
  }
}

/** A timeout that knows whether it is pending. */
class Timer {
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #handle;

  get pending() {
    return this.#handle !== undefined;
  }

  /**
   * @param {number} delay milliseconds
   * @param {() => void} action
   */
  set(delay, action) {
    this.clear();
    this.#handle = setTimeout(() => {
      this.#handle = undefined;
      action();
    }, delay);
  }

  clear() {
    clearTimeout(this.#handle);
    this.#handle = undefined;
  }
}

/**
 * @param {unknown} text
 * @returns {Envelope | null}
 */
function parse(text) {
  if (typeof text !== "string") return null;
  try {
    const message = JSON.parse(text);
    return typeof message?.type === "string" ? message : null;
  } catch {
    return null;
  }
}

/** @param {unknown} data */
function reconnectDelay(data) {
  return Math.min(Math.max(0, number(data, "after_ms") ?? 0), POLL_INTERVAL);
}

/**
 * @param {unknown} data
 * @param {string} name
 * @returns {number | null}
 */
function number(data, name) {
  const value = Object(data)[name];
  return typeof value === "number" ? value : null;
}

/**
 * @param {string} url
 * @param {string} path
 * @param {Record<string, string>} [headers]
 * @returns {WebSocket}
 */
function openSocket(url, path, headers) {
  const address = new URL(path, url.replace(/^http/, "ws"));
  // Not in the standard, but what WebSockets of programs take; a browser is never given it.
  return headers ? new WebSocket(address, /** @type {any} */ ({ headers })) : new WebSocket(address);
}

/**
 * @param {string} url
 * @param {string} path
 * @param {Record<string, string>} [headers]
 * @returns {Promise<Answer>}
 */
async function request(url, path, headers) {
  try {
    const response = await fetch(new URL(path, url), {
      headers: headers ?? {},
      signal: AbortSignal.timeout(REQUEST_LIMIT),
      cache: "no-store",
    });
    const wait = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
    // An error tells everything by its status; its body may be a proxy's page.
    const body = response.ok ? await response.json() : null;
    return { status: response.status, body, retryAfter: Number.isNaN(wait) ? null : wait };
  } catch {
    return { status: 0, body: null, retryAfter: null };
  }
}
