import assert from "node:assert/strict";
import { afterEach, mock, test } from "node:test";

import { ApiError, get, post } from "../../../app/static/api.js";

/** @param {() => Promise<Response>} answer */
function serverAnswers(answer) {
  mock.method(globalThis, "fetch", answer);
}

/** @param {Promise<unknown>} call */
async function failure(call) {
  /** @type {unknown} */
  let caught;
  await call.catch((error) => {
    caught = error;
  });
  assert.ok(caught instanceof ApiError, `not an ApiError: ${caught}`);
  return caught;
}

afterEach(() => mock.restoreAll());

test("an answer is the JSON of its body, and null where it has none", async () => {
  serverAnswers(async () => Response.json({ next: "e-1" }));
  assert.deepEqual(await get("/api/notifications"), { next: "e-1" });
  serverAnswers(async () => new Response(null, { status: 204 }));
  assert.equal(await post("/api/auth/logout"), null);
});

test("a server that is not reached is a failure of status 0", async () => {
  serverAnswers(() => Promise.reject(new TypeError("fetch failed")));
  assert.equal((await failure(get("/api/auth/me"))).status, 0);
});

test("an answer that is no JSON, or breaks off, is a failure like any other", async () => {
  const broken = new ReadableStream({ start: (body) => body.error(new TypeError("terminated")) });
  for (const body of ["<html>Sign in to the network</html>", '{"items": [', broken]) {
    serverAnswers(async () => new Response(body, { status: 200 }));
    const error = await failure(get("/api/notifications"));
    assert.equal(error.status, 0);
    assert.match(error.message, /Check the network/);
  }
});

test("a problem is told with its sentence, its fields and the time to wait", async () => {
  const body = { detail: "The request is not as it must be.", errors: [{ field: "cron", detail: "Five fields." }, 7] };
  serverAnswers(async () => Response.json(body, { status: 422, headers: { "Retry-After": "7" } }));
  const error = await failure(post("/api/scheduled-tasks", {}));
  assert.equal(error.message, body.detail);
  assert.deepEqual([...error.fields], [["cron", "Five fields."]]);
  assert.deepEqual([error.status, error.retryAfter], [422, 7]);
});

test("a refusal that is no problem document has a sentence all the same", async () => {
  for (const body of ["<html>Bad gateway</html>", "null", "7"]) {
    serverAnswers(async () => new Response(body, { status: 502 }));
    assert.match((await failure(get("/"))).message, /502/);
  }
});
