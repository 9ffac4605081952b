import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";

import { Feed, HANDSHAKE_LIMIT, PING_LIMIT, POLL_INTERVAL, SILENCE_LIMIT, TRIES } from "../../../app/static/feed.js";

/** @import { Answer, Status } from "../../../app/static/feed.js" */
/** @import { Envelope } from "../../../app/static/types.js" */

/** A server end in the hands of a test: the feed cannot tell it from a browser's WebSocket. */
class Peer {
  readyState = 0;
  /** @type {string[]} */ sent = [];
  /** @type {(() => void) | null} */ onopen = null;
  /** @type {((message: { data: unknown }) => void) | null} */ onmessage = null;
  /** @type {((event: { code: number }) => void) | null} */ onclose = null;

  /** @param {string} url */
  constructor(url) {
    this.url = url;
  }

  /** Accept, and say how many events were missed. */
  accept(events = 0) {
    this.readyState = 1;
    this.onopen?.();
    this.say({ type: "hello", id: "e-99", data: {} });
    this.say({ type: "resumed", id: "e-99", data: { events } });
  }

  /**
   * @param {string} id
   * @param {unknown} [data]
   */
  beat(id, data) {
    this.say({ type: "heartbeat", id, ...(data === undefined ? {} : { data }) });
  }

  /** @param {unknown} message */
  say(message) {
    this.onmessage?.({ data: JSON.stringify(message) });
  }

  /** @param {number} code */
  end(code) {
    this.readyState = 3;
    this.onclose?.({ code });
  }

  /** @param {string} text */
  send(text) {
    this.sent.push(text);
  }

  close() {
    this.readyState = 3;
  }
}

/** A feed with everything around it recorded. */
class Bench {
  /** @type {Peer[]} */ peers = [];
  /** @type {Envelope[]} */ events = [];
  /** @type {Status[]} */ statuses = [];
  /** @type {string[]} */ requests = [];
  /** @type {(path: string) => Answer} */ answer = () => ({ status: 200, body: { items: [], next: "e-1" }, retryAfter: null });
  resyncs = 0;
  random = 0.999999;
  /** What an overview and /api/auth/me wait for. */
  loading = Promise.resolve();
  asking = Promise.resolve();

  feed = new Feed({
    cursor: "e-1",
    onEvent: (event) => this.events.push(event),
    onStatus: (status) => this.statuses.push(status),
    onResync: async () => {
      this.resyncs += 1;
      await this.loading;
      return "f-7";
    },
    openSocket: (url) => {
      const peer = new Peer(url);
      this.peers.push(peer);
      return /** @type {WebSocket} */ (/** @type {unknown} */ (peer));
    },
    request: async (path) => {
      this.requests.push(path);
      if (path === "/api/auth/me") await this.asking;
      return this.answer(path);
    },
    random: () => this.random,
  });

  get peer() {
    const peer = this.peers.at(-1);
    assert.ok(peer, "no socket was opened");
    return peer;
  }

  get kinds() {
    return this.statuses.map((status) => status.kind);
  }

  /** Refuse every try of the socket until the feed polls. */
  async refuseUntilPolling() {
    for (let failure = 0; failure <= TRIES; failure += 1) {
      this.peer.end(1006);
      await settle();
      if (failure < TRIES) mock.timers.tick(1000 * 2 ** failure);
    }
    await settle();
  }
}

/** Let promises that are ready run. */
async function settle() {
  for (let round = 0; round < 10; round += 1) await Promise.resolve();
}

/** @param {string} id */
function event(id) {
  return { type: "task_update", id, data: { task_run_id: 1 } };
}

/** @type {Bench} */
let bench;

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
  bench = new Bench();
  bench.feed.start();
});

test("the socket continues from the cursor that the page was rendered at", () => {
  assert.equal(bench.peer.url, "/api/ws?since=e-1");
});

test("the state is live only after the server said that nothing is missing", () => {
  bench.peer.readyState = 1;
  bench.peer.onopen?.();
  bench.peer.say({ type: "hello", id: "e-9", data: {} });
  assert.deepEqual(bench.kinds, ["connecting", "catching_up"]);
  bench.peer.say({ type: "resumed", id: "e-9", data: { events: 0 } });
  assert.deepEqual(bench.kinds, ["connecting", "catching_up", "live"]);
});

test("hello and resumed do not move the cursor past events that are still to come", () => {
  bench.peer.accept();
  assert.equal(bench.feed.cursor, "e-1");
});

test("events and heartbeats move the cursor", () => {
  bench.peer.accept();
  bench.peer.say(event("e-2"));
  assert.equal(bench.feed.cursor, "e-2");
  bench.peer.say({ type: "heartbeat", id: "e-5", data: {} });
  assert.equal(bench.feed.cursor, "e-5");
});

test("an event is handed on once", () => {
  bench.peer.accept();
  bench.peer.say(event("e-2"));
  bench.peer.say(event("e-2"));
  assert.equal(bench.events.length, 1);
});

test("an event without an id is handed on and moves no cursor", () => {
  bench.peer.accept();
  bench.peer.say({ type: "task_update", data: {} });
  bench.peer.say({ type: "task_update", data: {} });
  assert.equal(bench.events.length, 2);
  assert.equal(bench.feed.cursor, "e-1");
});

for (const text of ["", "nonsense", "null", "[]", "{}", '{"type": 5}']) {
  test(`a frame that is no message is ignored: ${text || "(empty)"}`, () => {
    bench.peer.accept();
    bench.peer.onmessage?.({ data: text });
    assert.equal(bench.events.length, 0);
  });
}

for (const code of [1006, 1012, 4008]) {
  test(`after close ${code} the feed comes back with its cursor`, async () => {
    bench.peer.accept();
    bench.peer.say(event("e-2"));
    bench.peer.end(code);
    await settle();
    assert.equal(bench.kinds.at(-1), "reconnecting");
    mock.timers.tick(1000);
    assert.equal(bench.peers.length, 2);
    assert.equal(bench.peer.url, "/api/ws?since=e-2");
  });
}

test("waits double with each failure and are jittered below their limit", async () => {
  const waits = [];
  for (let failure = 0; failure < TRIES; failure += 1) {
    bench.peer.end(1006);
    await settle();
    const status = bench.statuses.at(-1);
    assert.equal(status?.kind, "reconnecting");
    waits.push(status.retryAt - Date.now());
    mock.timers.tick(40_000);
  }
  assert.deepEqual(
    waits.map((wait) => Math.round(wait)),
    [1000, 2000, 4000, 8000, 16_000],
  );
});

test("a connection that lasted makes earlier failures forgotten", async () => {
  bench.peer.end(1006);
  await settle();
  mock.timers.tick(1000);
  bench.peer.end(1006);
  await settle();
  mock.timers.tick(2000);
  bench.peer.accept();
  mock.timers.tick(10_000);
  bench.peer.end(1012);
  const status = bench.statuses.at(-1);
  assert.equal(status?.kind, "reconnecting");
  assert.equal(Math.round(status.retryAt - Date.now()), 1000);
});

test("a server that accepts and closes at once is not asked every second", async () => {
  for (let round = 0; round < TRIES; round += 1) {
    bench.peer.accept();
    bench.peer.end(1012);
    await settle();
    mock.timers.tick(40_000);
  }
  bench.peer.accept();
  bench.peer.end(1012);
  await settle();
  assert.equal(bench.kinds.at(-1), "polling");
});

test("after five tries the feed polls while it keeps trying the socket", async () => {
  await bench.refuseUntilPolling();
  assert.equal(bench.peers.length, 1 + TRIES);
  assert.equal(bench.kinds.at(-1), "polling");
  assert.equal(bench.requests.at(-1), "/api/notifications?since=e-1");
  mock.timers.tick(POLL_INTERVAL);
  assert.equal(bench.peers.length, 2 + TRIES);
  assert.equal(bench.kinds.at(-1), "polling");
});

test("polling reads page after page, moves the cursor and repeats nothing", async () => {
  /** @type {Record<string, unknown>} */
  const pages = {
    "e-1": { items: [event("e-2"), event("e-3")], next: "e-3" },
    "e-3": { items: [event("e-3"), event("e-4")], next: "e-4" },
  };
  bench.answer = (path) => {
    const since = path.split("since=")[1] ?? "";
    return { status: 200, body: pages[since] ?? { items: [], next: since }, retryAfter: null };
  };
  await bench.refuseUntilPolling();
  assert.deepEqual(
    bench.events.map(({ id }) => id),
    ["e-2", "e-3", "e-4"],
  );
  assert.equal(bench.feed.cursor, "e-4");
});

test("polling returns to the socket and stops", async () => {
  await bench.refuseUntilPolling();
  mock.timers.tick(POLL_INTERVAL);
  bench.peer.accept();
  assert.equal(bench.kinds.at(-1), "live");
  const asked = bench.requests.length;
  mock.timers.tick(20_000);
  bench.peer.say({ type: "heartbeat", id: "e-1", data: {} });
  mock.timers.tick(20_000);
  await settle();
  assert.equal(bench.requests.length, asked);
});

test("an answer to a poll that comes after the socket is dropped", async () => {
  await bench.refuseUntilPolling();
  bench.answer = () => ({ status: 200, body: { items: [event("e-2")], next: "e-2" }, retryAfter: null });
  mock.timers.tick(POLL_INTERVAL);
  bench.peer.accept();
  await settle();
  assert.deepEqual(bench.events, []);
  assert.equal(bench.feed.cursor, "e-1");
});

test("polling says so when the server cannot be reached either", async () => {
  bench.answer = () => ({ status: 0, body: null, retryAfter: null });
  await bench.refuseUntilPolling();
  assert.deepEqual(bench.statuses.at(-1), { kind: "polling", why: "server", staleSince: 0 });
});

test("too many connections of one user end in polling at once, with the reason", async () => {
  bench.peer.accept();
  bench.peer.end(4029);
  await settle();
  assert.deepEqual(bench.statuses.at(-1), { kind: "polling", why: "limit", staleSince: null });
});

for (const [name, act] of /** @type {[string, (bench: Bench) => void][]} */ ([
  ["the server closes with 4001", ({ peer }) => (peer.accept(), peer.end(4001))],
  [
    "a refused handshake turns out to be a missing session",
    (it) => {
      it.answer = () => ({ status: 401, body: null, retryAfter: null });
      it.peer.end(1006);
    },
  ],
])) {
  test(`signed out when ${name}, and nothing is tried again`, async () => {
    act(bench);
    await settle();
    assert.equal(bench.kinds.at(-1), "signed_out");
    mock.timers.tick(600_000);
    assert.equal(bench.peers.length, 1);
  });
}

test("a refused handshake with a valid session is tried again", async () => {
  bench.peer.end(1006);
  await settle();
  assert.deepEqual(bench.requests, ["/api/auth/me"]);
  assert.equal(bench.kinds.at(-1), "reconnecting");
});

for (const [name, act] of /** @type {[string, (peer: Peer) => void][]} */ ([
  ["resync_required", (peer) => peer.say({ type: "resync_required", id: "f-7", data: {} })],
  ["changed rights (4003)", (peer) => peer.end(4003)],
])) {
  test(`${name} loads everything and continues from its cursor`, async () => {
    bench.peer.accept();
    act(bench.peer);
    await settle();
    assert.equal(bench.resyncs, 1);
    assert.equal(bench.peer.url, "/api/ws?since=f-7");
  });
}

test("a server that asks for everything anew each time is asked ever less often", async () => {
  bench.peer.say({ type: "resync_required", id: "f-7", data: {} });
  await settle();
  for (const wait of [1000, 2000, 4000]) {
    bench.peer.say({ type: "resync_required", id: "f-7", data: {} });
    await settle();
    const status = bench.statuses.at(-1);
    assert.equal(status?.kind, "reconnecting");
    assert.equal(Math.round(status.retryAt - Date.now()), wait);
    mock.timers.tick(wait);
  }
});

test("polling that falls too far behind loads everything", async () => {
  bench.answer = (path) => ({ status: path.startsWith("/api/notifications") ? 410 : 200, body: null, retryAfter: null });
  await bench.refuseUntilPolling();
  assert.equal(bench.resyncs, 1);
  assert.equal(bench.peer.url, "/api/ws?since=f-7");
});

test("a late answer about a refused handshake does not disturb loading everything", async () => {
  bench.random = 0.5;
  await bench.refuseUntilPolling();
  bench.answer = (path) => ({ status: path.startsWith("/api/notifications") ? 410 : 200, body: null, retryAfter: null });
  /** @type {() => void} */
  let answer = () => {};
  bench.asking = new Promise((resolve) => {
    answer = resolve;
  });
  bench.loading = new Promise(() => {});
  mock.timers.tick(25_000);
  bench.peer.end(1006);
  mock.timers.tick(5000);
  await settle();
  answer();
  await settle();
  assert.equal(bench.resyncs, 1);
  assert.equal(bench.kinds.at(-1), "connecting");
});

test("a server that asks pages to leave is left after the time it names", () => {
  bench.peer.accept();
  bench.peer.say({ type: "reconnect", id: "e-1", data: { after_ms: 3000 } });
  assert.equal(bench.peer.readyState, 3);
  mock.timers.tick(2999);
  assert.equal(bench.peers.length, 1);
  mock.timers.tick(1001);
  assert.equal(bench.peers.length, 2);
});

test("a socket without heartbeats is given up", async () => {
  bench.peer.accept();
  mock.timers.tick(SILENCE_LIMIT);
  assert.equal(bench.kinds.at(-1), "reconnecting");
});

test("a handshake that hangs is given up", () => {
  mock.timers.tick(HANDSHAKE_LIMIT);
  assert.equal(bench.kinds.at(-1), "reconnecting");
});

test("waking up tries at once instead of waiting", async () => {
  bench.peer.end(1006);
  await settle();
  bench.feed.wake();
  assert.equal(bench.peers.length, 2);
});

test("waking up asks a quiet socket whether it is alive, and believes its answer", () => {
  bench.peer.accept();
  bench.feed.wake();
  assert.deepEqual(bench.peer.sent, ["ping"]);
  bench.peer.onmessage?.({ data: "pong" });
  mock.timers.tick(PING_LIMIT);
  assert.equal(bench.kinds.at(-1), "live");
});

test("a socket that does not answer the wake-up is replaced", () => {
  bench.peer.accept();
  bench.feed.wake();
  mock.timers.tick(PING_LIMIT);
  assert.equal(bench.kinds.at(-1), "reconnecting");
});

test("after stop nothing happens any more", async () => {
  bench.peer.accept();
  bench.feed.stop();
  bench.peer.say(event("e-2"));
  bench.peer.end(1006);
  bench.feed.wake();
  mock.timers.tick(600_000);
  await settle();
  assert.equal(bench.peers.length, 1);
  assert.deepEqual(bench.events, []);
});

test("missed events are counted down until the last one has come", () => {
  bench.peer.accept(3);
  assert.deepEqual(bench.statuses.at(-1), { kind: "catching_up", left: 3, staleSince: 0 });
  bench.peer.say(event("e-2"));
  bench.peer.say({ type: "task_update", data: {} }); // by hand: none of those that were missed
  bench.peer.say({ type: "task_progress", id: "e-3", data: {} });
  assert.deepEqual(bench.statuses.at(-1), { kind: "catching_up", left: 1, staleSince: 0 });
  bench.peer.say(event("e-4"));
  assert.deepEqual(bench.statuses.at(-1), { kind: "live", staleSince: null });
});

test("a digest counts for all events that it stands for, and moves the cursor", () => {
  bench.peer.accept(42);
  bench.peer.say({ type: "digest", id: "e-41", data: { since: "e-1", events: 40 } });
  assert.deepEqual(bench.statuses.at(-1), { kind: "catching_up", left: 2, staleSince: 0 });
  assert.equal(bench.feed.cursor, "e-41");
  bench.peer.say({ type: "digest", id: "e-43", data: { since: "e-41", events: 2 } });
  assert.equal(bench.kinds.at(-1), "live");
  assert.equal(bench.events.length, 2);
});

test("a heartbeat ends catching up, however many were dropped from a digest", () => {
  bench.peer.accept(42);
  bench.peer.say({ type: "digest", id: "e-43", data: { since: "e-1", events: 40 } });
  bench.peer.beat("e-43", { state: "live", age: 0.1 });
  assert.equal(bench.kinds.at(-1), "live");
});

for (const [name, data, kind] of /** @type {[string, unknown, string][]} */ ([
  ["without data, of an older server,", undefined, "live"],
  ["with nothing in it", {}, "live"],
  ["of a state that nobody knows", { state: "odd", age: 3 }, "live"],
  ["that is live", { state: "live", age: 0.2 }, "live"],
  ["that is delayed", { state: "delayed", age: 0.9 }, "delayed"],
  ["that is stale", { state: "stale", age: 12.5 }, "stale"],
  ["that is stale without an age", { state: "stale" }, "stale"],
])) {
  test(`a heartbeat ${name} makes the feed ${kind}`, () => {
    bench.peer.accept();
    bench.peer.beat("e-2", data);
    assert.equal(bench.kinds.at(-1), kind);
  });
}

test("stale is said since the server last read its log, and goes on from there with each heartbeat", () => {
  bench.peer.accept();
  mock.timers.tick(20_000);
  bench.peer.beat("e-1", { state: "stale", age: 12 });
  assert.deepEqual(bench.statuses.at(-1), { kind: "stale", staleSince: 8000 });
  mock.timers.tick(15_000);
  bench.peer.beat("e-1", { state: "stale", age: 27.4 });
  assert.deepEqual(bench.statuses.at(-1), { kind: "stale", staleSince: 8000 });
  bench.peer.beat("e-5", { state: "live", age: 0 });
  assert.deepEqual(bench.statuses.at(-1), { kind: "live", staleSince: null });
});

test("what comes while the server is stale does not make it fresh", () => {
  bench.peer.accept();
  bench.peer.beat("e-1", { state: "stale", age: 0 });
  bench.peer.say(event("e-2"));
  bench.feed.wake();
  bench.peer.onmessage?.({ data: "pong" });
  assert.equal(bench.kinds.at(-1), "stale");
});

test("a silent socket is stale since its last message, until the feed is live again", async () => {
  bench.peer.accept();
  mock.timers.tick(7000);
  bench.peer.beat("e-1");
  mock.timers.tick(SILENCE_LIMIT);
  await settle();
  const [status] = bench.statuses.slice(-1);
  assert.equal(status?.kind, "reconnecting");
  assert.equal(status.staleSince, 7000);
  mock.timers.tick(1000);
  assert.deepEqual(bench.statuses.at(-1), { kind: "connecting", staleSince: 7000 });
  bench.peer.accept(1);
  assert.deepEqual(bench.statuses.at(-1), { kind: "catching_up", left: 1, staleSince: 7000 });
  bench.peer.say(event("e-2"));
  assert.deepEqual(bench.statuses.at(-1), { kind: "live", staleSince: null });
});

test("a page that was stale when its socket broke stays stale since then", async () => {
  bench.peer.accept();
  mock.timers.tick(20_000);
  bench.peer.beat("e-1", { state: "stale", age: 12 });
  mock.timers.tick(10_000);
  bench.peer.end(1006);
  await settle();
  assert.equal(bench.statuses.at(-1)?.staleSince, 8000);
});

test("polling is stale while it fails, since the last answer", async () => {
  let status = 200;
  bench.answer = () => ({ status, body: { items: [], next: "e-1" }, retryAfter: null });
  await bench.refuseUntilPolling();
  const polled = Date.now();
  assert.deepEqual(bench.statuses.at(-1), { kind: "polling", why: "socket", staleSince: null });
  status = 503;
  mock.timers.tick(POLL_INTERVAL);
  bench.peer.end(1006);
  await settle();
  assert.deepEqual(bench.statuses.at(-1), { kind: "polling", why: "server", staleSince: polled });
  status = 200;
  mock.timers.tick(POLL_INTERVAL);
  await settle();
  assert.deepEqual(bench.statuses.at(-1), { kind: "polling", why: "socket", staleSince: null });
});

test("polling through several pages is catching up", async () => {
  /** @type {Record<string, unknown>} */
  const pages = {
    "e-1": { items: [event("e-2")], next: "e-2" },
    "e-2": { items: [event("e-3")], next: "e-3" },
  };
  bench.answer = (path) => {
    const since = path.split("since=")[1] ?? "";
    return { status: 200, body: pages[since] ?? { items: [], next: since }, retryAfter: null };
  };
  await bench.refuseUntilPolling();
  assert.deepEqual(bench.kinds.slice(-2), ["catching_up", "polling"]);
});

for (const type of ["snapshot", "notice_of_the_future"]) {
  test(`a ${type} that nobody asked for does no harm`, () => {
    bench.peer.accept();
    bench.peer.say({ type, id: "e-2", data: { cursor: "e-2" } });
    assert.equal(bench.events.length, type === "snapshot" ? 0 : 1);
    assert.equal(bench.kinds.at(-1), "live");
  });
}

test("each status is told once", () => {
  bench.peer.accept();
  for (let beat = 0; beat < 5; beat += 1) bench.peer.beat("e-1", { state: "delayed", age: beat });
  assert.deepEqual(bench.kinds, ["connecting", "catching_up", "live", "delayed"]);
});

test("a feed without a cursor loads everything first", async () => {
  /** @type {string[]} */
  const opened = [];
  const feed = new Feed({
    onEvent: () => {},
    onResync: async () => "f-7",
    openSocket: (path) => {
      opened.push(path);
      return /** @type {WebSocket} */ (/** @type {unknown} */ (new Peer(path)));
    },
  });
  feed.start();
  await settle();
  assert.deepEqual(opened, ["/api/ws?since=f-7"]);
  feed.stop();
});

/** A feed whose loading of everything fails `times` times; with `gone`, the log no longer reaches back to any cursor. */
class Loading {
  /** @type {string[]} */ opened = [];
  /** @type {Status[]} */ statuses = [];
  /** @type {string[]} */ polled = [];
  loads = 0;

  /**
   * @param {number} times
   * @param {{ cursor?: string, gone?: boolean }} [more]
   */
  constructor(times, { cursor, gone = false } = {}) {
    this.feed = new Feed({
      ...(cursor === undefined ? {} : { cursor }),
      onEvent: () => {},
      onStatus: (status) => this.statuses.push(status),
      onResync: async () => {
        this.loads += 1;
        if (this.loads <= times) throw new Error("no overview");
        return "f-7";
      },
      openSocket: (path) => {
        this.opened.push(path);
        this.peer = new Peer(path);
        return /** @type {WebSocket} */ (/** @type {unknown} */ (this.peer));
      },
      request: async (path) => {
        if (path.startsWith("/api/notifications")) this.polled.push(path);
        return { status: gone ? 410 : 200, body: { items: [], next: "f-7" }, retryAfter: null };
      },
      random: () => 0.999999,
    });
    this.feed.start();
  }
}

test("a feed without a cursor asks for everything again, ever later, until it gets it", async () => {
  const loading = new Loading(2);
  await settle();
  assert.equal(loading.loads, 1);
  for (const [number, wait] of [1000, 2000].entries()) {
    assert.equal(loading.statuses.at(-1)?.kind, "reconnecting");
    mock.timers.tick(wait - 10);
    await settle();
    assert.equal(loading.loads, number + 1);
    mock.timers.tick(10);
    await settle();
    assert.equal(loading.loads, number + 2);
  }
  assert.deepEqual(loading.opened, ["/api/ws?since=f-7"]);
  loading.feed.stop();
});

test("a feed without a cursor neither connects nor polls, however long loading fails, and a wake-up loads", async () => {
  const loading = new Loading(TRIES + 4);
  for (let tried = 1; tried < TRIES + 4; tried += 1) {
    await settle();
    assert.equal(loading.loads, tried);
    mock.timers.tick(30_000);
  }
  await settle();
  assert.deepEqual([loading.opened, loading.polled], [[], []]);
  assert.equal(loading.statuses.at(-1)?.kind, "reconnecting");
  loading.feed.wake();
  await settle();
  assert.deepEqual(loading.opened, ["/api/ws?since=f-7"]);
  loading.feed.stop();
});

test("loading that fails after the log was cut off is tried again as seldom as anything else", async () => {
  const loading = new Loading(1e9, { cursor: "e-1", gone: true });
  for (let failure = 0; failure <= TRIES; failure += 1) {
    loading.peer?.end(1006);
    await settle();
    if (failure < TRIES) mock.timers.tick(1000 * 2 ** failure);
  }
  await settle();
  assert.equal(loading.polled.length, 1);
  assert.equal(loading.loads, 1);
  mock.timers.tick(29_000);
  await settle();
  assert.equal(loading.loads, 1);
  mock.timers.tick(1000);
  await settle();
  assert.equal(loading.loads, 2);
  loading.feed.stop();
});
