/**
 * The event feed: a WebSocket that comes back, with polling in its place while it cannot.
 *
 * The feed owns one cursor: the id up to which everything was seen. Socket and polling both continue from it, so a
 * reconnect or a change between them neither loses nor repeats an event.
 */

import { backoff } from "./backoff.js";

/** @import { Envelope } from "./types.js" */

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

/**
 * @typedef {{ kind: "connecting" }
 *   | { kind: "live" }
 *   | { kind: "reconnecting", retryAt: number }
 *   | { kind: "polling", why: "socket" | "server" | "limit" }
 *   | { kind: "signed_out" }} Status
 *
 * @typedef {object} Answer
 * @property {number} status  0 when the server was not reached
 * @property {any} body
 * @property {number | null} retryAfter  seconds
 *
 * @typedef {object} Options
 * @property {string} cursor  what the page shows is true at this id
 * @property {(event: Envelope) => void} onEvent
 * @property {(status: Status) => void} onStatus
 * @property {() => Promise<string>} onResync  loads everything anew; returns the cursor it is true at
 * @property {(url: string) => WebSocket} openSocket
 * @property {(path: string) => Promise<Answer>} request  a GET that never rejects
 * @property {() => number} [random]
 */

/** Follows the server's events until `stop`. */
export class Feed {
  /** @type {Options} */ #options;
  /** @type {() => number} */ #random;
  /** @type {string} */ #cursor;
  /** @type {Status} */ #status = { kind: "connecting" };
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
    this.#options = options;
    this.#random = options.random ?? Math.random;
    this.#cursor = options.cursor;
  }

  get cursor() {
    return this.#cursor;
  }

  get status() {
    return this.#status;
  }

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
    this.#round += 1;
    this.#timers.retry.clear();
    this.#drop();
    if (!this.#polling) this.#tell({ kind: "connecting" });
    const socket = this.#options.openSocket(`/api/ws?since=${encodeURIComponent(this.#cursor)}`);
    let opened = false;
    this.#socket = socket;
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
    if (text === "pong") return;
    const message = parse(text);
    if (!message) return;
    switch (message.type) {
      case "hello":
        return;
      case "resumed":
        return this.#live();
      case "heartbeat":
        // The server writes in order: what came before this id has been read.
        if (message.id) this.#cursor = message.id;
        return;
      case "resync_required":
        return void this.#resync();
      case "reconnect":
        this.#drop();
        return this.#fail(reconnectDelay(message.data));
      case "error":
        console.warn("The server refused a message of this page", message.data);
        return;
      default:
        this.#deliver(message);
    }
  }

  #live() {
    this.#resynced = false;
    this.#stopPolling();
    this.#tell({ kind: "live" });
    this.#timers.stable.set(STABLE_AFTER, () => {
      this.#failures = 0;
    });
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
    const answer = await this.#options.request("/api/auth/me");
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
    if (this.#failures > TRIES) this.#fallBack("socket");
    else this.#retryIn(atLeast + backoff(this.#failures - 1, this.#random));
  }

  /** @param {number} delay milliseconds */
  #retryIn(delay) {
    if (this.#stopped) return;
    this.#round += 1;
    if (!this.#polling) this.#tell({ kind: "reconnecting", retryAt: Date.now() + delay });
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
      this.#tell({ kind: "polling", why });
      this.#poll();
    }
    this.#retryIn(POLL_INTERVAL * (0.5 + this.#random() / 2));
  }

  #stopPolling() {
    this.#polling = false;
    this.#pollRound += 1;
    this.#timers.poll.clear();
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
    for (;;) {
      const before = this.#cursor;
      const answer = await this.#options.request(`/api/notifications?since=${encodeURIComponent(this.#cursor)}`);
      if (this.#pollRound !== round) return;
      if (answer.status === 401) return this.#signOut();
      if (answer.status === 410) return this.#resync();
      const answered = answer.status === 200;
      this.#tell({ kind: "polling", why: answered ? this.#why : "server" });
      if (!answered || !Array.isArray(answer.body?.items)) return;
      for (const event of answer.body.items) this.#deliver(event);
      const next = answer.body.next;
      if (typeof next !== "string" || next === before) return;
      this.#cursor = next;
      if (answer.body.items.length === 0) return;
    }
  }

  /** The log no longer reaches back to the cursor, or rights changed: load everything and go on from there. */
  async #resync() {
    this.#round += 1;
    this.#drop();
    this.#stopPolling();
    this.#timers.retry.clear();
    this.#tell({ kind: "connecting" });
    try {
      this.#cursor = await this.#options.onResync();
    } catch (error) {
      if (error instanceof Error && "status" in error && error.status === 401) return this.#signOut();
      return this.#fail();
    }
    if (this.#stopped) return;
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
    this.#tell({ kind: "signed_out" });
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
    const same = status.kind === this.#status.kind && status.kind !== "reconnecting" && status.kind !== "polling";
    this.#status = status;
    if (!same || status.kind === "connecting") this.#options.onStatus(status);
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
  const delay = typeof data === "object" && data !== null && "after_ms" in data ? data.after_ms : 0;
  return typeof delay === "number" && delay > 0 ? Math.min(delay, POLL_INTERVAL) : 0;
}
