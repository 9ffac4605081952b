"""Build the archive of one service for one Python version, unless it is there already.

The archive holds what a host needs to make the release's virtual environment without a network: the service's own
wheel, the wheels of its lock file, a requirements file with the hash of each, the list of all components (SBOM), the
commit that it was built from, and uv, which installs them in a tenth of pip's time. It is named after its content, so
that the same source and lock file are never built twice and every host agrees on the release's id.

Prints one JSON object: `id`, `archive` (path), `changed` (built just now, or, with --check, missing).
"""

import argparse
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import release_sbom
from packaging.markers import Marker

LOCK_FILE = "requirements.lock"
# What is not part of the program. Everything else in the source directory decides the release's id.
LEFT_OUT = {"tests", "__pycache__", "build", "dist", "node_modules", "requirements-dev.lock"}
OLDEST_MANYLINUX, NEWEST_MANYLINUX = 5, 36  # Debian 12 has glibc 2.36
EPOCH = 1_577_836_800  # 2020-01-01: zip files cannot hold a time before 1980
KEPT_ARCHIVES = 3
SHAPE = 4  # of the archive: raise it when hosts must get a new one although the source is the same
INSTALLER = "wheels/uv"  # its name in the archive
COMMIT_FILE = "commit"

_REQUIREMENT = re.compile(r"^(?P<pin>[A-Za-z0-9._-]+(\[[^\]]*\])?==[^\s;\\]+)\s*(;(?P<marker>[^\\]*))?\\?\s*$")


class BuildError(Exception):
    """The release cannot be built; the text says what to look at."""


def source_files(source: Path) -> Iterator[Path]:
    """Yield the files that make the release, in a stable order."""
    for path in sorted(source.rglob("*")):
        parts = path.relative_to(source).parts
        hidden = any(part.startswith(".") or part in LEFT_OUT or part.endswith(".egg-info") for part in parts)
        if not hidden and path.is_file() and path.suffix != ".pyc":
            yield path


def release_id(source: Path) -> str:
    """Return the first 12 hex digits of the SHA-256 over names and contents of the source tree, lock file included.

    Raises:
        BuildError: there is no lock file.

    """
    if not (source / LOCK_FILE).is_file():
        raise BuildError(f"{source / LOCK_FILE} is missing: a release is built from locked requirements only")
    digest = hashlib.sha256(f"{SHAPE}\0".encode())
    for path in source_files(source):
        digest.update(f"{path.relative_to(source).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def requirements_for(lock: str, python: str) -> str:
    """Return the lock file without markers, and without what no patch release of Python `python` (3.13) needs.

    pip judges markers by the Python that it runs under, which here is the controller's, not the host's.
    """
    kept: list[str] = []
    keep = False
    for line in lock.splitlines():
        if match := _REQUIREMENT.match(line):
            keep = _needed(match["marker"], python)
            text = match["pin"] + (" \\" if line.rstrip().endswith("\\") else "")
        else:
            keep = keep and line.startswith((" ", "\t")) and not line.lstrip().startswith("#")
            text = line
        if keep:
            kept.append(text)
    return "\n".join(kept) + "\n"


def _needed(marker: str | None, python: str) -> bool:
    if not marker:
        return True
    parsed = Marker(marker.strip())
    host = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "python_version": python}
    return any(parsed.evaluate(host | {"python_full_version": f"{python}.{patch}"}) for patch in (0, 99))


def platforms(machine: str) -> list[str]:
    """Return the wheel platforms that Debian 12 and newer can run, newest first."""
    modern = [f"manylinux_2_{minor}_{machine}" for minor in range(NEWEST_MANYLINUX, OLDEST_MANYLINUX - 1, -1)]
    return [*modern, f"manylinux2014_{machine}", f"manylinux2010_{machine}", f"manylinux1_{machine}"]


def run_pip(*arguments: str, environment: dict[str, str] | None = None) -> None:
    """Run pip of this interpreter. Raises BuildError with the end of its output."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(  # noqa: S603 (arguments are this file's own)
        command, capture_output=True, text=True, check=False, env=os.environ | (environment or {})
    )
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise BuildError(f"pip {arguments[0]} ended with {done.returncode}:\n{tail}")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one build at a time work on `path`; several hosts ask at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def wheel(source: Path, identity: str, cache: Path) -> Path:
    """Return the service's own wheel, built once per release id. Raises BuildError."""
    store = cache / "wheels" / "own" / identity
    with locked(store):
        if not store.is_dir():
            with tempfile.TemporaryDirectory(dir=store.parent) as scratch:
                tree, out = Path(scratch, "source"), Path(scratch, "out")
                # A copy, so that the build leaves nothing in the checkout.
                for path in source_files(source):
                    copy = tree / path.relative_to(source)
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, copy)
                reproducible = {"SOURCE_DATE_EPOCH": str(EPOCH)}
                run_pip("wheel", "--no-deps", f"--wheel-dir={out}", str(tree), environment=reproducible)
                out.rename(store)
    found = list(store.glob("*.whl"))
    if len(found) != 1:
        raise BuildError(f"{store} holds {len(found)} wheels instead of one: remove the directory and run again")
    return found[0]


def wheelhouse(lock: Path, python: str, machine: str, cache: Path) -> Path:
    """Return the directory with the wheels of the lock file, downloaded once per content. Raises BuildError."""
    requirements = requirements_for(lock.read_text(encoding="utf-8"), python)
    name = hashlib.sha256(f"{python} {machine}\n{requirements}".encode()).hexdigest()[:16]
    store = cache / "wheels" / f"py{python.replace('.', '')}-{machine}-{name}"
    with locked(store):
        if not store.is_dir():
            with tempfile.TemporaryDirectory(dir=store.parent) as scratch:
                wanted, out = Path(scratch, "requirements.txt"), Path(scratch, "out")
                wanted.write_text(requirements, encoding="utf-8")
                out.mkdir()
                targets = [f"--platform={platform}" for platform in platforms(machine)]
                run_pip(
                    "download", "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:",
                    "--implementation=cp", f"--python-version={python}", *targets,
                    f"--dest={out}", f"--requirement={wanted}",
                )  # fmt: skip
                out.rename(store)
    return store


def installer() -> Path:
    """Return the uv beside this interpreter. Raises BuildError."""
    uv = Path(sys.executable).with_name("uv")
    if not uv.is_file():
        raise BuildError(f"{uv} is missing: the controller's environment is made from requirements.lock, which has it")
    return uv


def own_requirement(source: Path, own: Path) -> str:
    """Return the requirements line of the service itself, with the hash of the wheel just built."""
    project = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    digest = hashlib.sha256(own.read_bytes()).hexdigest()
    return f"{project['name']}=={project['version']} --hash=sha256:{digest}\n"


def commit_of(source: Path) -> str:
    """Return the commit that git has checked out there, with the words "and changes" where files differ from it.

    "unknown" where there is no git, or the directory belongs to none of its checkouts.
    """
    git = ["git", "-C", str(source)]
    try:
        head, changed = (
            subprocess.run(  # noqa: S603 (arguments are this file's own)
                [*git, *words], capture_output=True, text=True, check=True
            ).stdout.strip()
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--", "."])
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head}{' and changes' if changed else ''}"


def pack(archive: Path, files: dict[str, Path], texts: dict[str, str]) -> None:
    """Write the archive under a temporary name and rename it, so that a broken build leaves none behind."""
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".pack-") as scratch:
        part = Path(scratch, archive.name)
        for name, text in texts.items():
            Path(scratch, name).write_text(text, encoding="utf-8")
        with tarfile.open(part, "w") as tar:
            for name, path in sorted((files | {name: Path(scratch, name) for name in texts}).items()):
                tar.add(path, arcname=name, filter=_anonymous)
        part.rename(archive)


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mode, entry.mtime = 0o755 if entry.name == INSTALLER else 0o644, EPOCH
    return entry


def forget_old(archive: Path, name: str) -> None:
    """Remove the oldest archives of the same service and Python, and keep some for a rollback of new hosts."""
    suffix = archive.name.rpartition("-py")[2]
    same = re.compile(rf"{re.escape(name)}-[0-9a-f]{{12}}-py{re.escape(suffix)}")
    found = [path for path in archive.parent.iterdir() if same.fullmatch(path.name)]
    for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT_ARCHIVES:]:
        path.unlink()


def build(options: argparse.Namespace) -> dict[str, object]:
    """Return what is printed. Raises BuildError."""
    if options.machine != os.uname().machine:
        raise BuildError(f"a {os.uname().machine} controller has no installer for {options.machine} hosts")
    identity = release_id(options.source)
    tag = f"py{options.python.replace('.', '')}-{options.machine}"
    archive = options.artifacts / f"{options.name}-{identity}-{tag}.tar"
    answer: dict[str, object] = {"id": identity, "archive": str(archive), "changed": False}
    if archive.exists() or options.check:
        return answer | {"changed": not archive.exists()}
    with locked(archive):
        if archive.exists():
            return answer
        own = wheel(options.source, identity, options.cache)
        wheels = wheelhouse(options.source / LOCK_FILE, options.python, options.machine, options.cache)
        locked_wheels = sorted(wheels.glob("*.whl"))
        files = {f"wheels/{path.name}": path for path in [own, *locked_wheels]} | {INSTALLER: installer()}
        lock = (options.source / LOCK_FILE).read_text(encoding="utf-8")
        texts = {
            "requirements.txt": f"{lock.rstrip()}\n{own_requirement(options.source, own)}",
            COMMIT_FILE: f"{options.commit or commit_of(options.source)}\n",
            release_sbom.FILE: release_sbom.sbom(own, locked_wheels, identity, options.python, EPOCH),
        }
        pack(archive, files, texts)
        forget_old(archive, options.name)
    return answer | {"changed": True}


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, build, print; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--name", required=True, help="of the service; part of the archive's name")
    parser.add_argument("--source", required=True, type=Path, help="directory of the service, lock file included")
    parser.add_argument("--python", required=True, help="version of the hosts' Python, like 3.13")
    parser.add_argument("--machine", default=os.uname().machine, help="the hosts' architecture, like x86_64")
    parser.add_argument("--artifacts", required=True, type=Path, help="directory of the archives")
    parser.add_argument("--cache", required=True, type=Path, help="directory for wheels, kept between builds")
    parser.add_argument("--commit", default="", help="that the source was taken from (default: what git says of it)")
    parser.add_argument("--check", action="store_true", help="build nothing, say what would be done")
    try:
        answer = build(parser.parse_args(arguments))
    except (BuildError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
