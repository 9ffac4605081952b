"""Writes what was collected into one archive on the controller, with every secret masked."""

import base64
import hashlib
import io
import json
import os
import re
import tarfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

MASK = "(masked)"
SHORTEST = 6  # characters of a value that is masked wherever it stands: shorter ones would take words apart
# Names behind which a secret stands; "secrets_dir" and "password_file" name places, not secrets.
_NAMES = (
    r"[\w.-]{0,60}(?:password|passwd|passphrase|secret|token|api[_-]?key|private[_-]?key|[_-]pass|masterauth"
    r"|requirepass|sentinel-pass|credentials?|cookie|authorization)"
)
_PATTERNS = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), replacement)
    for pattern, replacement in (
        # A private key, also one whose end is cut off.
        (r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", MASK),
        # NAME=value, "name": "value", name: value
        (rf"""(\b{_NAMES}["']?[ \t]*[:=][ \t]*)("(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[^\n]*)""", rf"\1{MASK}"),
        # Directives: the name, then words.
        (r"((?:^|\n)[ \t]*(?:masterauth|requirepass|sentinel[ \t]+[\w-]+-pass|auth_pass)[ \t]+)[^\n]*", rf"\1{MASK}"),
        # Redis' users: >password, and #hash of one.
        (r"(?:^|\n)user[ \t][^\n]*", lambda line: re.sub(r"(\s>)\S+", rf"\1{MASK}", line[0])),
        (r"(\s#)[0-9a-f]{64}", rf"\1{MASK}"),
        # name:password@ in an address.
        (r"(://[^\s:/@]*:)[^\s/@]+@", rf"\1{MASK}@"),
        (r"\b(bearer|basic)[ \t]+[\w.~+/=-]{8,}", rf"\1 {MASK}"),
        # Hashes of passwords.
        (r"SCRAM-SHA-256\$\S+|\$argon2[a-z]*\$\S+|\$(?:y|2[aby]|6|5)\$[\w./$]+", MASK),
    )
)  # fmt: skip


def forms(secret: str) -> set[str]:
    """Return how a secret may be written: as it is, escaped, encoded, or hashed as Redis does.

    Of one with several lines each line counts for itself, since logs cut texts apart.
    """
    values = {secret.strip()} | {line.strip() for line in secret.splitlines() if len(line.strip()) >= SHORTEST}
    found = set()
    for value in values:
        raw = value.encode()
        found |= {
            value,
            json.dumps(value)[1:-1],
            json.dumps(value, ensure_ascii=False)[1:-1],
            quote(value, safe=""),
            value.replace("'", "'\\''"),
        }
        found |= {base64.b64encode(raw).decode(), hashlib.sha256(raw).hexdigest()}
    return {form for form in found if len(form) >= SHORTEST and not form.startswith("-----")}


class Mask:
    """Takes secrets out of texts: the values that are known, and what looks like one."""

    def __init__(self, secrets: Iterable[str]) -> None:
        known = sorted({form for secret in secrets for form in forms(secret)}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, text: str) -> str:
        """Return the text with a mask in the place of each secret."""
        if self._known:
            text = self._known.sub(MASK, text)
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
        return text


def state(answer: object) -> str:
    """Return in a line what became of asking a host."""
    if not isinstance(answer, Mapping):
        return "not asked: --limit left it out"
    if answer.get("unreachable"):
        return f"UNREACHABLE: {answer.get('msg') or 'no reason was given'}"
    if "collected" not in answer:
        words = (answer.get(key) for key in ("msg", "module_stderr", "module_stdout", "exception"))
        return "FAILED: " + (" ".join(str(word).strip() for word in words if word) or "no reason was given")
    return "collected"


def safe(name: str) -> str:
    """Return a name that stays within the archive, whatever a host called its file."""
    parts = [re.sub(r"[^A-Za-z0-9._@:-]", "_", part) for part in name.split("/")]
    return "/".join(part for part in parts if part.strip("."))


class ActionModule(ActionBase):
    """Arguments: `directory`, `answers` (of diagnostics_collect, by host), `secrets`, `secret_files` (patterns)."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Write the archive; returns its `path`, and `hosts` with what became of each."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        given = self._task.args
        mask = Mask(self._secrets(given))
        answers: dict[str, Any] = given["answers"]
        hosts = {str(host): mask(" ".join(state(answer).split())) for host, answer in answers.items()}
        texts = {"hosts.txt": "".join(f"{host}: {line}\n" for host, line in hosts.items())}
        for host, answer in answers.items():
            collected = answer.get("collected", {}) if isinstance(answer, Mapping) else {}
            texts |= {safe(f"{host}/{name}"): mask(str(text)) for name, text in collected.items()}
        name = time.strftime("vuls-diagnostics-%Y%m%dT%H%M%SZ", time.gmtime())
        path = Path(given["directory"]) / f"{name}.tar.gz"
        if not self._task.check_mode:
            try:
                self._write(path, name, texts)
            except OSError as error:
                raise AnsibleActionFail(
                    f"{path} cannot be written: {error.strerror}. Nothing was kept; make room, or set diagnostics_dir."
                ) from error
        return {**result, "changed": True, "path": str(path), "hosts": hosts}

    @staticmethod
    def _secrets(given: Mapping[str, Any]) -> list[str]:
        """Return the values that are known: those that were given, and what the files hold."""
        found = [str(value) for value in given.get("secrets", []) if value]
        for pattern in given.get("secret_files", []):
            files = (path for path in Path("/").glob(pattern.lstrip("/")) if path.is_file())
            found += [path.read_text(encoding="utf-8", errors="replace") for path in files]
        return found

    @staticmethod
    def _write(path: Path, name: str, texts: Mapping[str, str]) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (
            open(path, "xb", opener=lambda file, flags: os.open(file, flags, 0o600)) as opened,
            tarfile.open(fileobj=opened, mode="w:gz") as archive,
        ):
            for inside, text in sorted(texts.items()):
                data = text.encode(errors="replace")
                entry = tarfile.TarInfo(f"{name}/{inside}")
                entry.size, entry.mode, entry.mtime = len(data), 0o600, int(time.time())
                archive.addfile(entry, io.BytesIO(data))
