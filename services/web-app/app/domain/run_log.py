"""The log of a scan, put together from looks at the last lines of its programs, without its secrets."""

import re
from collections.abc import Collection, Iterable, Sequence

KEPT = 1000  # lines of a run
MAX_LINE = 4000  # characters
MASK = "[masked]"

_KEY_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----")
_KEY_END = re.compile(r"-----END [A-Z0-9 ]*PRIVATE KEY-----")
# A line of a key whose beginning is out of sight: 64 characters in PEM, 70 in OpenSSH's own form.
_KEY_BODY = re.compile(r"^\s*[A-Za-z0-9+/]{48,76}={0,2}\s*$")
_KEY_LIKE = re.compile(r"^[A-Za-z0-9+/=\s]*$|^[A-Za-z-]+: ")  # what stands between the two, headers of PEM among it
_NAMED = re.compile(
    r"""(?ix) (?P<name> (?: passw(?:or)?d | pwd | passphrase | secret | token | api[_-]?key | private[_-]?key )
            [\w-]{0,40} ["']? \s* [=:] \s* )
        (?P<value> "(?:[^"\\]|\\.)*"? | '(?:[^'\\]|\\.)*'? | [^\s"',;&)}\]]+ \]? )"""
)
_AUTHORIZATION = re.compile(r"(?i)(?P<name>\b(?:proxy-)?authorization[\"']?\s*[=:]\s*).+")
_OPTION = re.compile(r"(?i)(?P<name>\B--?(?:password|passwd|pwd|passphrase|secret|token|api-key)\s+)[^\s\"']+")
_COOKIE = re.compile(r"(?i)(?P<name>\b(?:set-)?cookie[\"']?\s*[=:]\s*).+")
_BEARER = re.compile(r"(?i)(?P<name>\bbearer\s+)[^\s\"',;]+")
_IN_URL = re.compile(r"(?P<name>[a-z0-9]://[^\s/:@]{0,200}:)[^\s/@]+(?=@)")
_RULES = (_AUTHORIZATION, _COOKIE, _BEARER, _NAMED, _OPTION, _IN_URL)


def mask(line: str, secrets: Collection[str] = ()) -> str:
    """Return a line without `secrets`, and without what looks like a password, a token or a private key."""
    for secret in secrets:
        line = line.replace(secret, MASK)
    for rule in _RULES:
        line = rule.sub(rf"\g<name>{MASK}", line)
    return MASK if _KEY_BODY.match(line) else line


def mask_lines(lines: Iterable[str], secrets: Collection[str] = ()) -> list[str]:
    """Return the lines masked, one for one; of a private key nothing but where it was."""
    masked, within_key = [], False
    for line in lines:
        begins, ends = _KEY_BEGIN.search(line), _KEY_END.search(line)
        if begins:
            within_key = ends is None
            masked.append(mask(line[: begins.start()], secrets) + MASK)
        elif within_key and (ends or _KEY_LIKE.match(line)):
            within_key = ends is None
            masked.append(MASK)
        else:
            within_key = False
            masked.append(mask(line, secrets))
    return [line.replace("\0", "")[:MAX_LINE] for line in masked]


def new_lines(known: Sequence[str], window: Sequence[str]) -> Sequence[str]:
    """Return the lines of `window` that come after `known`.

    `known` is the end of what was taken so far, at least as long as a window; `window` the last lines of the scan, then
    the last lines of the report. Each part slides as its program goes on, so there may be a gap between the two. The
    last known line is where the most lines before it agree; of places that are as good the first, as programs repeat
    themselves. Without such a place a part that is known as a whole is left out.
    """
    best, place = 0, 0
    for end in range(1, len(window) + 1):
        agreed = 0
        while agreed < min(end, len(known)) and window[end - 1 - agreed] == known[-1 - agreed]:
            agreed += 1
        if agreed > best:
            best, place = agreed, end
    return window[place or _known_part(known, window) :]


def _known_part(known: Sequence[str], window: Sequence[str]) -> int:
    """Return how many of the first lines of `window` stand in `known` one after the other."""
    longest = 0
    for start in range(len(known)):
        length = 0
        while length < min(len(window), len(known) - start) and known[start + length] == window[length]:
            length += 1
        longest = max(longest, length)
    return longest
