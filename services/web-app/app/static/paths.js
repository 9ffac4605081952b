/**
 * A path of this site that is safe to go to after signing in, or "/" when `next` is anything else.
 *
 * @param {string | null} next what the address said; anybody may have written it
 * @param {string} origin this page's origin
 */
export function safeNext(next, origin) {
  if (!next || !/^\/(?![/\\])/.test(next)) return "/";
  try {
    const url = new URL(next, origin);
    return url.origin === origin ? url.pathname + url.search + url.hash : "/";
  } catch {
    return "/";
  }
}
