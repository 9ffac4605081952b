"""Errors in the form of Vuls: a chain of causes, each with the place in its source where it was wrapped.

Whoever reads Vuls's standard error sees these lines; the double has to give the same ones. Places and texts are those
of v0.40.1, taken from the recorded runs.
"""

from dataclasses import dataclass

VULS = "github.com/future-architect/vuls"
_VULS2 = "github.com/MaineK00n/vuls2"
_VULS2_VERSION = "v0.0.1-alpha.0.20260729010730-7c9a9f98c44c"


@dataclass(frozen=True)
class Link:
    """One wrapping of an error: what was said, and by which function at which place (none for a foreign error)."""

    text: str
    function: str = ""
    place: str = ""

    def __str__(self) -> str:
        """Render as Go's xerrors does for %+v."""
        if not self.function:
            return self.text
        return f"{self.text}:\n    {VULS}/{self.function}\n        {VULS}/{self.place}"


class ReportError(Exception):
    """The report ends here, with exit status 1; the message is what Vuls would have logged."""


class ResultsError(ReportError):
    """The results of the scan cannot be read."""

    def __init__(self, what: str, path: object, reason: str = "") -> None:
        super().__init__(f"{what} {path}: {reason}" if reason else f"{what} {path}")


class DatabaseError(Exception):
    """The database cannot be used; carries the lower links of the chain, outermost first."""

    def __init__(self, *links: Link) -> None:
        super().__init__(str(links[-1]))
        self.links = links


def chain(*links: Link) -> str:
    """Render links from the outermost to the cause."""
    return "\n  - ".join(map(str, links))


def detection_failed(server: str, error: DatabaseError) -> str:
    """Wrap an error of the database as it passes up through the detection of one server."""
    return chain(
        Link(f"Failed to detect CVEs of {server}. err", "detector.Detect", "detector/detector.go:114"),
        Link("Failed to detect Pkg CVE", "detector.Detect.func1", "detector/detector.go:51"),
        Link("Failed to detect CVE with Vuls2", "detector.DetectPkgCves", "detector/detector.go:256"),
        Link("Failed to open db session. err", "detector/vuls2.detectWith", "detector/vuls2/vuls2.go:273"),
        Link("Failed to open db session. err", "detector/vuls2.(*Session).open", "detector/vuls2/vuls2.go:140"),
        Link("Failed to get new db connection. err", "detector/vuls2.openSession", "detector/vuls2/vuls2.go:180"),
        *error.links,
    )


def family_unsupported(server: str, family: str) -> str:
    """Wrap the refusal of a distribution."""
    return chain(
        Link(f"Failed to detect CVEs of {server}. err", "detector.Detect", "detector/detector.go:114"),
        Link("Failed to detect Pkg CVE", "detector.Detect.func1", "detector/detector.go:51"),
        Link(f"Unsupported detection methods for {family}", "detector.DetectPkgCves", "detector/detector.go:270"),
    )


def database_missing(path: str) -> DatabaseError:
    """Say that there is no file at `[vuls2] Path`, and fetching is switched off."""
    return DatabaseError(
        _CHECK_DOWNLOAD,
        Link(f"{path} not found, cannot skip update", "detector/vuls2.shouldDownload", "detector/vuls2/db.go:81"),
    )


def database_unreadable(path: str, cause: str) -> DatabaseError:
    """Say that the file at `[vuls2] Path` is no database."""
    trace = [
        (f"{_VULS2}/pkg/db/session/internal/boltdb.(*Connection).Open",
         f"{_VULS2}@{_VULS2_VERSION}/pkg/db/session/internal/boltdb/boltdb.go:86"),
        (f"{VULS}/detector/vuls2.shouldDownload", f"{VULS}/detector/vuls2/db.go:97"),
        (f"{VULS}/detector/vuls2.newDBConfig", f"{VULS}/detector/vuls2/db.go:28"),
        *_SESSION_TRACE,
    ]  # fmt: skip
    return DatabaseError(
        _CHECK_DOWNLOAD,
        Link(f"Failed to open vuls2 db. path: {path}, err", "detector/vuls2.shouldDownload", "detector/vuls2/db.go:98"),
        Link(cause + _render(trace)),
    )


def database_not_fetched(repository: str) -> DatabaseError:
    """Say that the database has to be fetched and the network is out of reach (the double never tries)."""
    host, _, name = repository.partition("/")
    name, _, tag = name.rpartition(":")
    trace = [
        (f"{_VULS2}/pkg/db/fetch.Fetch", f"{_VULS2}@{_VULS2_VERSION}/pkg/db/fetch/fetch.go:122"),
        (f"{VULS}/detector/vuls2.newDBConfig", f"{VULS}/detector/vuls2/db.go:35"),
        *_SESSION_TRACE,
    ]
    return DatabaseError(
        Link("Failed to fetch vuls2 db. err", "detector/vuls2.newDBConfig", "detector/vuls2/db.go:36"),
        Link(
            f'Head "https://{host}/v2/{name}/manifests/{tag}": dial tcp: lookup {host}: no such host\n'
            f"    resolve {repository}{_render(trace)}"
        ),
    )


def _render(trace: list[tuple[str, str]]) -> str:
    return "".join(f"\n    {function}\n    \t{place}" for function, place in trace)


_CHECK_DOWNLOAD = Link(
    "Failed to check whether to download vuls2 db. err", "detector/vuls2.newDBConfig", "detector/vuls2/db.go:30"
)
_SESSION_TRACE = [
    (f"{VULS}/detector/vuls2.openSession", f"{VULS}/detector/vuls2/vuls2.go:178"),
    (f"{VULS}/detector/vuls2.(*Session).open", f"{VULS}/detector/vuls2/vuls2.go:138"),
    (f"{VULS}/detector/vuls2.detectWith", f"{VULS}/detector/vuls2/vuls2.go:271"),
    (f"{VULS}/detector/vuls2.DetectPkgs", f"{VULS}/detector/vuls2/vuls2.go:68"),
    (f"{VULS}/detector.DetectPkgCves", f"{VULS}/detector/detector.go:255"),
    (f"{VULS}/detector.Detect.func1", f"{VULS}/detector/detector.go:50"),
    (f"{VULS}/detector.Detect", f"{VULS}/detector/detector.go:113"),
    (f"{VULS}/subcmds.(*ReportCmd).Execute", f"{VULS}/subcmds/report.go:282"),
    ("github.com/google/subcommands.(*Commander).Execute", "github.com/google/subcommands@v1.2.0/subcommands.go:209"),
    ("github.com/google/subcommands.Execute", "github.com/google/subcommands@v1.2.0/subcommands.go:492"),
    ("main.main", f"{VULS}/cmd/vuls/main.go:37"),
    ("runtime.main", "runtime/proc.go:290"),
    ("runtime.goexit", "runtime/asm_amd64.s:1771"),
]
