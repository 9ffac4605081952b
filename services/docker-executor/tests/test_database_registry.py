"""The database out of a real registry: how it comes, and what is said when it does not."""

import json
import os
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from backports import zstd

from executor.database import DatabaseError
from executor.database_registry import Reference
from executor.settings import MIB
from tests.database import BASE, NEXT, call, command, digest_of, is_untouched, refused, said
from tests.registry import BASIC, TOKEN, USER, Registry, certificate, cutting, free_port

LARGE = NEXT + os.urandom(8 * MIB)
"""A database that cannot be packed: bbolt does not look behind its last page."""
Answer = tuple[int, dict[str, str], bytes]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    made = Registry(tmp_path_factory.mktemp("registry"), BASIC)
    yield made
    made.close()


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    file = tmp_path / "credentials"
    file.write_text(":".join(USER) + "\n")
    return file


@contextmanager
def serving(directory: Path, respond: Callable[[str, dict[str, str]], Answer]) -> Iterator[int]:
    """Answer over TLS with what `respond` gives for installed and headers; yield the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = respond(self.path, dict(self.headers))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "registry.crt", directory / "registry.key")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_a_database_is_pulled_checked_and_put_in_place(registry: Registry, installed: Path, credentials: Path) -> None:
    registry.push(NEXT)
    reference = f"{registry.reference}:0"
    done = said(call(installed, "pull", reference, "--ca", registry.ca, "--credentials", credentials))
    assert installed.read_bytes() == NEXT
    assert (done["changed"], done["digest"], done["source"]) == (True, digest_of(NEXT), reference)


def test_a_database_that_is_in_place_is_not_fetched_again(
    registry: Registry, installed: Path, credentials: Path
) -> None:
    pushed = registry.push(NEXT, "again")
    arguments = (f"{registry.reference}:again", "--ca", registry.ca, "--credentials", credentials)
    assert said(call(installed, "pull", *arguments))["changed"] is True
    blob = registry.blob(pushed.layer)
    blob.rename(blob.with_suffix(".aside"))  # who asks for it now fails
    try:
        assert said(call(installed, "pull", *arguments))["changed"] is False
    finally:
        blob.with_suffix(".aside").rename(blob)
    registry.push(BASE, "again")
    assert said(call(installed, "pull", *arguments))["digest"] == digest_of(BASE)


def test_the_same_database_from_elsewhere_is_told_to_be_from_there(
    registry: Registry, installed: Path, credentials: Path
) -> None:
    arguments = ("--ca", registry.ca, "--credentials", credentials)
    registry.push(NEXT, "first")
    registry.push(NEXT, "second")
    said(call(installed, "pull", f"{registry.reference}:first", *arguments))
    done = said(call(installed, "pull", f"{registry.reference}:second", *arguments))
    assert (done["changed"], done["source"]) == (False, f"{registry.reference}:second")
    assert said(call(installed, "show"))["source"] == f"{registry.reference}:second"


def test_a_large_database_of_several_frames_is_pulled_by_digest(
    registry: Registry, installed: Path, credentials: Path
) -> None:
    packed = b"".join(zstd.compress(LARGE[start : start + 3 * MIB]) for start in range(0, len(LARGE), 3 * MIB))
    pushed = registry.push_layer(packed, "large")
    reference = f"{registry.reference}@{pushed.manifest}"
    said(call(installed, "pull", reference, "--ca", registry.ca, "--credentials", credentials))
    assert installed.read_bytes() == LARGE


def test_another_authority_is_not_trusted(
    registry: Registry, installed: Path, tmp_path: Path, credentials: Path
) -> None:
    registry.push(NEXT)
    (tmp_path / "other").mkdir()
    for ca in (["--ca", certificate(tmp_path / "other")], []):
        sentence = refused(call(installed, "pull", registry.reference, "--credentials", credentials, *ca))
        assert "is not to be trusted" in sentence
        assert "--ca" in sentence
    assert is_untouched(installed)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("puller:another-password", "does not take these credentials"),
        ("nobody:a-password-of-tests", "does not take these credentials"),
        (None, "Name a file with --credentials."),
        ("puller", "must hold one line, USER:PASSWORD"),
        ("", "must hold one line, USER:PASSWORD"),
    ],
)
def test_wrong_credentials_are_told_and_never_shown(
    registry: Registry, installed: Path, tmp_path: Path, line: str | None, words: str
) -> None:
    registry.push(NEXT)
    arguments: list[object] = []
    if line is not None:
        (tmp_path / "credentials").write_text(line)
        arguments = ["--credentials", tmp_path / "credentials"]
    sentence = refused(call(installed, "pull", registry.reference, "--ca", registry.ca, *arguments))
    assert words in sentence
    assert "password" not in sentence.removesuffix("PASSWORD.\n")
    assert is_untouched(installed)


def test_a_tag_that_is_not_there_is_told(registry: Registry, installed: Path, credentials: Path) -> None:
    arguments = ("--ca", registry.ca, "--credentials", credentials)
    sentence = refused(call(installed, "pull", f"{registry.reference}:none", *arguments))
    assert f"has no {Reference.parse(registry.reference).name}:none. Look at the name and the tag." in sentence
    assert is_untouched(installed)


def test_an_artefact_of_another_kind_is_refused(registry: Registry, installed: Path, credentials: Path) -> None:
    registry.push(NEXT, "image", layer_type="application/vnd.oci.image.layer.v1.tar+gzip")
    arguments = ("--ca", registry.ca, "--credentials", credentials)
    assert "is no database of Vuls" in refused(call(installed, "pull", f"{registry.reference}:image", *arguments))
    assert is_untouched(installed)


@pytest.mark.parametrize(
    ("packed", "words"),
    [
        (b"<!DOCTYPE html>" * 100, "is damaged"),
        (zstd.compress(NEXT)[:-100], "is damaged"),
        (zstd.compress(NEXT) + b"more", "is damaged"),
        (zstd.compress(b"<!DOCTYPE html>" * 10000), "no bbolt file"),
        (zstd.compress(b""), "no bbolt file"),
        (b"", "is damaged"),
    ],
    ids=["no zstd", "cut frame", "more behind", "web page", "empty database", "empty layer"],
)
def test_a_layer_that_holds_no_database_changes_nothing(
    registry: Registry, installed: Path, credentials: Path, packed: bytes, words: str
) -> None:
    registry.push_layer(packed, "bad")
    arguments = ("--ca", registry.ca, "--credentials", credentials)
    assert words in refused(call(installed, "pull", f"{registry.reference}:bad", *arguments))
    assert is_untouched(installed)


def test_a_layer_whose_bytes_are_not_those_of_its_digest_changes_nothing(
    registry: Registry, installed: Path, credentials: Path
) -> None:
    layers = [
        zstd.compress(LARGE[:-1] + last, options={zstd.CompressionParameter.checksum_flag: 0}) for last in (b"a", b"b")
    ]
    assert len(layers[0]) == len(layers[1])
    pushed = registry.push_layer(layers[0], "swapped")
    registry.blob(pushed.layer).write_bytes(layers[1])
    arguments = ("--ca", registry.ca, "--credentials", credentials)
    assert f"for {pushed.layer}. Try again" in refused(
        call(installed, "pull", f"{registry.reference}:swapped", *arguments)
    )
    assert is_untouched(installed)


def test_a_connection_that_is_cut_in_the_middle_changes_nothing(
    registry: Registry, installed: Path, credentials: Path
) -> None:
    registry.push(LARGE, "cut")
    with cutting(registry.port, 4 * MIB) as port:
        reference = registry.reference.replace(str(registry.port), str(port))
        sentence = refused(
            call(installed, "pull", f"{reference}:cut", "--ca", registry.ca, "--credentials", credentials)
        )
    assert f"The connection to 127.0.0.1:{port} failed" in sentence
    assert is_untouched(installed)


def test_a_registry_that_is_not_there_is_told(installed: Path) -> None:
    port = free_port()
    assert f"The connection to 127.0.0.1:{port} failed" in refused(call(installed, "pull", f"127.0.0.1:{port}/vuls-db"))
    assert is_untouched(installed)


def test_a_proxy_of_the_environment_is_used(registry: Registry, installed: Path) -> None:
    proxy = {"HTTPS_PROXY": f"http://127.0.0.1:{free_port()}"}
    done = command(installed, "pull", registry.reference, "--ca", registry.ca, more=proxy)
    assert "The proxy before" in refused(done)
    assert is_untouched(installed)


@pytest.mark.parametrize("name", ["token", "access_token"])
def test_a_token_is_fetched_where_the_registry_says(
    tmp_path: Path, installed: Path, name: str, credentials: Path
) -> None:
    asked: list[tuple[str, str]] = []

    def respond(address: str, headers: dict[str, str]) -> Answer:
        asked.append((address, headers.get("Authorization", "")))
        return 200, {"Content-Type": "application/json"}, json.dumps({name: "a-token"}).encode()

    (tmp_path / "registry").mkdir()
    certificate(tmp_path / "registry")
    with serving(tmp_path / "registry", respond) as port:
        registry = Registry(tmp_path / "registry", TOKEN, f"https://127.0.0.1:{port}/token")
        try:
            registry.push(NEXT)
            said(call(installed, "pull", registry.reference, "--ca", registry.ca, "--credentials", credentials))
        finally:
            registry.close()
    assert installed.read_bytes() == NEXT
    [(address, authorization)] = asked
    assert address == "/token?service=tests&scope=repository%3Avulsio%2Fvuls-nightly-db%3Apull"
    assert authorization.startswith("Basic ")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((302, {"Location": "http://127.0.0.1/elsewhere"}, b""), "is not HTTPS"),
        ((302, {"Location": "/v2/again"}, b""), "redirects without end"),
        ((401, {}, b""), "to known users only"),
        ((401, {"WWW-Authenticate": "Negotiate"}, b""), "to known users only"),
        ((401, {"WWW-Authenticate": 'Bearer realm="http://127.0.0.1/token"'}, b""), "is not HTTPS"),
        ((401, {"WWW-Authenticate": "Bearer"}, b""), "does not say where tokens are to be had"),
        ((403, {}, b""), "to known users only"),
        ((429, {}, b""), "too many requests"),
        ((500, {}, b""), "answered 500"),
        ((200, {}, b"<!DOCTYPE html>"), "its manifest has no layers"),
        ((200, {}, b"[" * 5000), "its manifest has no layers"),
        ((200, {}, b'{"layers": []}'), "is no database of Vuls"),
        ((200, {}, b'{"layers": [{"mediaType": "x", "digest": "sha256:../../etc", "size": 1}]}'), "has no layers"),
        (
            (200, {}, b'{"layers": [{"mediaType": "x", "digest": "sha256:' + b"0" * 64 + b'", "size": -1}]}'),
            "no layers",
        ),
        ((200, {"Docker-Content-Digest": "sha256:" + "0" * 64}, b'{"layers": []}'), "with the digest"),
        ((200, {}, b" " * (4 * MIB + 1)), "more than 4 MiB"),
    ],
)
def test_what_no_registry_says_is_refused(installed: Path, tmp_path: Path, answer: Answer, words: str) -> None:
    ca = certificate(tmp_path)
    with serving(tmp_path, lambda *_: answer) as port:
        assert words in refused(call(installed, "pull", f"127.0.0.1:{port}/vuls-db", "--ca", ca))
    assert is_untouched(installed)


def test_credentials_do_not_follow_to_another_host(installed: Path, tmp_path: Path, credentials: Path) -> None:
    ca, seen = certificate(tmp_path), []

    def elsewhere(_: str, headers: dict[str, str]) -> Answer:
        seen.append(headers.get("Authorization"))
        return 404, {}, b""

    def here(address: str, headers: dict[str, str]) -> Answer:
        if "Authorization" not in headers:
            return 401, {"WWW-Authenticate": 'Basic realm="tests"'}, b""
        return 307, {"Location": f"https://127.0.0.1:{other}{address}"}, b""

    with serving(tmp_path, elsewhere) as other, serving(tmp_path, here) as port:
        refused(call(installed, "pull", f"127.0.0.1:{port}/vuls-db", "--ca", ca, "--credentials", credentials))
    assert seen == [None]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "vuls-db",
        "vulsio/vuls-db",
        "https://example.com/vuls-db",
        "example.com/",
        "example.com/UPPER",
        "example.com/a b",
        "example.com/a/../b",
        "example.com/a:",
        "example.com/a@sha256:0",
        "user:pw@example.com/a",
        "example.com/a\n",
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(DatabaseError, match="is no reference"):
        Reference.parse(text)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("example.com/vulsio/vuls-db", "https://example.com/v2/vulsio/vuls-db/manifests/0"),
        ("localhost/vuls-db:v1.2", "https://localhost/v2/vuls-db/manifests/v1.2"),
        ("127.0.0.1:5000/vuls-db:0", "https://127.0.0.1:5000/v2/vuls-db/manifests/0"),
        ("[::1]:5000/vuls-db:0", "https://[::1]:5000/v2/vuls-db/manifests/0"),
    ],
)
def test_a_reference_names_host_name_and_tag(text: str, url: str) -> None:
    reference = Reference.parse(text)
    assert reference.url("manifests", reference.tag) == url
