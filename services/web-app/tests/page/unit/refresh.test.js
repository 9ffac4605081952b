import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";

import { FIRST, Refresher, RETRY, SPREAD } from "../../../app/static/refresh.js";

let loads = 0;
let hidden = false;
let works = true;
/** @type {Refresher} */
let refresher;

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout"] });
  loads = 0;
  hidden = false;
  works = true;
  refresher = new Refresher(
    async () => {
      loads += 1;
      if (!works) throw new Error("no network");
    },
    () => hidden,
    () => 0.5,
  );
});

test("a storm of digests loads the lists once, after a time that differs from page to page", () => {
  for (let digest = 0; digest < 20; digest += 1) refresher.ask();
  mock.timers.tick(FIRST + SPREAD / 2 - 1);
  assert.equal(loads, 0);
  mock.timers.tick(1);
  assert.equal(loads, 1);
  mock.timers.tick(60_000);
  assert.equal(loads, 1);
});

test("what is asked for while the lists are loaded is loaded again", () => {
  refresher.ask();
  mock.timers.tick(FIRST + SPREAD);
  refresher.ask();
  mock.timers.tick(FIRST + SPREAD);
  assert.equal(loads, 2);
});

test("a hidden tab loads when it is looked at again", () => {
  hidden = true;
  refresher.ask();
  mock.timers.tick(60_000);
  assert.equal(loads, 0);
  hidden = false;
  refresher.wake();
  mock.timers.tick(0);
  assert.equal(loads, 1);
  refresher.wake();
  mock.timers.tick(60_000);
  assert.equal(loads, 1);
});

test("lists that could not be loaded are asked for again", async () => {
  works = false;
  refresher.ask();
  mock.timers.tick(FIRST + SPREAD);
  for (let round = 0; round < 10; round += 1) await Promise.resolve();
  works = true;
  mock.timers.tick(RETRY);
  assert.equal(loads, 2);
});
