"""A real registry on loopback, with TLS, and what stands between it and who pulls from it."""

import hashlib
import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import requests
from backports import zstd

from executor.database_registry import LAYER_TYPE, MANIFEST_TYPE
from tests.harness import ROOT, wait_until

PROGRAM = ROOT / ".local/tools/docker-registry"
USER = ("puller", "a-password-of-tests")
HTPASSWD = "puller:$2y$05$abcdefghijklmnopqrstuueA.5djcjiTIZGfiZPkCs0FT7mnizswe"
NAME = "vulsio/vuls-nightly-db"
CONFIG = """
version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: %(path)s/storage}, delete: {enabled: true}}
http:
  addr: 127.0.0.1:%(port)d
  tls: {certificate: %(path)s/registry.crt, key: %(path)s/registry.key}
"""
BASIC = "auth: {htpasswd: {realm: tests, path: %(path)s/htpasswd}}\n"
# It asks for a token of this service and takes any: who gives it is the test's.
TOKEN = "auth: {silly: {realm: %(token)s, service: tests}}\n"


@dataclass(frozen=True)
class Artefact:
    """What was pushed, by its digests."""

    manifest: str
    layer: str
    size: int


class Registry:
    """Debian's docker-registry (the reference implementation), with a directory of its own."""

    def __init__(self, path: Path, auth: str = "", token: str = "") -> None:
        self.path = path
        self.port = free_port()
        self.ca = certificate(path)
        values = {"path": path, "port": self.port, "token": token}
        (path / "htpasswd").write_text(HTPASSWD + "\n")
        (path / "config.yml").write_text((CONFIG + auth) % values)
        self._session = requests.Session()
        self._session.verify = str(self.ca)
        self._session.auth = USER
        self._session.trust_env = False
        with (path / "log").open("wb") as log:
            command = [str(PROGRAM), "serve", str(path / "config.yml")]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        wait_until(self._answers, 60)

    @property
    def reference(self) -> str:
        """Return what to pull."""
        return f"127.0.0.1:{self.port}/{NAME}"

    def push(self, database: bytes, tag: str = "0", layer_type: str = LAYER_TYPE) -> Artefact:
        """Push a database as the vendor does."""
        return self.push_layer(zstd.compress(database), tag, layer_type)

    def push_layer(self, packed: bytes, tag: str = "0", layer_type: str = LAYER_TYPE) -> Artefact:
        """Push a layer as it is."""
        layer = {"mediaType": layer_type, "digest": self._blob(packed), "size": len(packed)}
        empty = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": self._blob(b"{}"), "size": 2}
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": "application/vnd.vulsio.vuls.db+type",
            "config": empty,
            "layers": [layer],
        }
        body = json.dumps(manifest).encode()
        answer = self._call("PUT", f"manifests/{tag}", data=body, headers={"Content-Type": MANIFEST_TYPE})
        return Artefact(answer.headers["Docker-Content-Digest"], str(layer["digest"]), len(packed))

    def blob(self, digest: str) -> Path:
        """Return the file that holds a layer."""
        digits = digest.removeprefix("sha256:")
        return self.path / "storage/docker/registry/v2/blobs/sha256" / digits[:2] / digits / "data"

    def close(self) -> None:
        """End the registry."""
        self._session.close()
        self._process.terminate()
        self._process.wait(30)

    def _blob(self, content: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        place = self._call("POST", "blobs/uploads/").headers["Location"]
        answer = self._session.put(place, params={"digest": digest}, data=content, timeout=30)
        answer.raise_for_status()
        return digest

    def _call(self, method: str, path: str, **values: object) -> requests.Response:
        url = f"https://127.0.0.1:{self.port}/v2/{NAME}/{path}"
        answer = self._session.request(method, url, timeout=30, **values)  # type: ignore[arg-type]
        answer.raise_for_status()
        return answer

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self.path / "log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def certificate(path: Path) -> Path:
    """Return the directory's certificate for loopback, which is its own authority; make it where there is none."""
    if (path / "registry.crt").exists():
        return path / "registry.crt"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", "/CN=registry of tests", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
            *("-keyout", str(path / "registry.key"), "-out", str(path / "registry.crt")),
        ],
        check=True,
        capture_output=True,
    )
    return path / "registry.crt"


@contextmanager
def cutting(port: int, after: int) -> Iterator[int]:
    """Stand before a port and cut each connection after so many bytes of its answer; yield the port to use."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener, port, after), daemon=True).start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, port: int, after: int) -> None:
    while True:
        try:
            near, _ = listener.accept()
        except OSError:
            return
        far = socket.create_connection(("127.0.0.1", port))
        threading.Thread(target=_pass_on, args=(near, far, 1 << 60), daemon=True).start()
        threading.Thread(target=_pass_on, args=(far, near, after), daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket, most: int) -> None:
    try:
        while most > 0 and (chunk := source.recv(65536)):
            target.sendall(chunk[:most])
            most -= len(chunk)
    except OSError:
        pass
    finally:
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
