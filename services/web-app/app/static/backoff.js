/** Exponential backoff with full jitter: a whole fleet of pages that lost one server spreads itself out. */

export const BASE = 1000;
export const CAP = 30_000;

/**
 * Milliseconds to wait before try number `attempt`.
 *
 * @param {number} attempt 0 for the first
 * @param {() => number} random
 */
export function backoff(attempt, random = Math.random) {
  return random() * Math.min(CAP, BASE * 2 ** attempt);
}
