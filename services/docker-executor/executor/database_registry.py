"""Fetches the database from an OCI registry: the vendor's, or a mirror of it.

The artefact is that of github.com/MaineK00n/vuls2: a manifest with one layer of `LAYER_TYPE`, a bbolt file packed with
Zstandard; the tag is the schema version. Protocol: OCI distribution specification v1.1; tokens as in
https://distribution.github.io/distribution/spec/auth/token/. Only HTTPS is spoken, to redirects and token services too.
"""

import base64
import hashlib
import io
import json
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO, Final, Self
from urllib.parse import urljoin, urlsplit
from urllib.request import parse_http_list, parse_keqv_list

import requests
import urllib3
from backports import zstd
from pydantic import BaseModel, Field, ValidationError

from executor import database_install
from executor.database import SCHEMA_VERSION, DatabaseError
from executor.database_note import Digest
from executor.settings import MIB

log = logging.getLogger(__name__)

LAYER_TYPE: Final = "application/vnd.vulsio.vuls.db.layer.v1+zstd"
MANIFEST_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"
SYSTEM_CA = Path("/etc/ssl/certs/ca-certificates.crt")
_SECONDS = (10, 60)  # to connect; without a byte
_REDIRECTS = 5
_TEXT_LIMIT = 4 * MIB
_WINDOW_LOG = 27  # 128 MiB of memory, the most that `zstd` uses without being told to
_PROGRESS_SECONDS = 10.0
_REFERENCE = re.compile(
    r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?|\[[0-9a-f:]+\](?::[0-9]{1,5})?)"
    r"/(?P<name>[a-z0-9]+(?:(?:[._/]|__|-+)[a-z0-9]+)*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


class Layer(BaseModel):
    """One layer of a manifest."""

    mediaType: str  # noqa: N815 (the specification's name)
    digest: Digest
    size: Annotated[int, Field(ge=0, le=database_install.LIMIT)]


class Manifest(BaseModel):
    """The part of an image manifest that is needed."""

    layers: list[Layer]


@dataclass(frozen=True, slots=True)
class Reference:
    """Where an artefact is: HOST[:PORT]/NAME[:TAG][@DIGEST]."""

    host: str
    name: str
    tag: str
    digest: str | None

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Return the reference that `text` is. Raises DatabaseError."""
        found = _REFERENCE.fullmatch(text)
        if found is None or not re.search(r"[.:]|^localhost$", found["host"]):
            raise DatabaseError(
                f"{text!r} is no reference. It is HOST[:PORT]/NAME[:TAG], for example"
                f" registry.example.com/vulsio/vuls-nightly-db:{SCHEMA_VERSION}, without https://."
            )
        return cls(found["host"], found["name"], found["tag"] or str(SCHEMA_VERSION), found["digest"])

    def url(self, kind: str, what: str) -> str:
        """Return the address of a manifest or blob."""
        return f"https://{self.host}/v2/{self.name}/{kind}/{what}"


class Registry:
    """Asks for one artefact. Raises DatabaseError, with what to do next, for whatever goes wrong."""

    def __init__(self, reference: Reference, ca: Path | None, credentials: tuple[str, str] | None) -> None:
        self._reference = reference
        self._credentials = credentials
        self._authorization = ""
        self._verify: str | bool = str(ca or SYSTEM_CA) if ca or SYSTEM_CA.is_file() else True
        self._session = requests.Session()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def manifest(self) -> tuple[str, Layer]:
        """Return the manifest's digest and the layer with the database."""
        reference = self._reference
        wanted = reference.digest or reference.tag
        with self._get(reference.url("manifests", wanted), accept=MANIFEST_TYPE) as answer:
            body = self._text(answer)
            told = reference.digest or answer.headers.get("Docker-Content-Digest")
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        if told not in (None, digest):
            raise DatabaseError(f"{reference.host} sent a manifest with the digest {digest} for {told}. Try again.")
        try:
            layers = Manifest.model_validate_json(body).layers
        except ValidationError as error:
            raise DatabaseError(f"{self._what} is no artefact with a database: its manifest has no layers.") from error
        for layer in layers:
            if layer.mediaType == LAYER_TYPE:
                return digest, layer
        raise DatabaseError(f"{self._what} is no database of Vuls: none of its layers is of the type {LAYER_TYPE}.")

    def fetch(self, layer: Layer, file: BinaryIO, path: Path) -> None:
        """Write the database of a layer to the staging file of `path`, and check size and digest of the layer."""
        with self._get(self._reference.url("blobs", layer.digest)) as answer:
            source = _Verified(answer.raw, layer, self._reference.host)
            options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
            try:
                with self._translated(), zstd.ZstdFile(source, options=options) as unpacked:
                    database_install.copy(unpacked.read, file, path)
                    source.finish()
            except (zstd.ZstdError, EOFError) as error:
                sent = f"What {self._reference.host} sent for {self._what}"
                raise DatabaseError(f"{sent} is damaged ({error}). Try again, or another mirror.") from error

    @property
    def _what(self) -> str:
        reference = self._reference
        return f"{reference.name}{'@' + reference.digest if reference.digest else ':' + reference.tag}"

    def _get(self, url: str, accept: str = "*/*") -> requests.Response:
        """Return the answer 200 to a request, after authentication and redirects; to be closed."""
        answer = self._ask(url, accept, self._authorization)
        if answer.status_code == requests.codes.unauthorized:
            challenge = answer.headers.get("WWW-Authenticate", "")
            answer.close()
            self._authorization = self._answer_to(challenge)
            answer = self._ask(url, accept, self._authorization)
        self._check(answer)
        return answer

    def _ask(self, url: str, accept: str, authorization: str) -> requests.Response:
        home = urlsplit(url).netloc
        for _ in range(_REDIRECTS):
            if urlsplit(url).scheme != "https":
                raise DatabaseError(f"{self._reference.host} leads to {url}, which is not HTTPS. Use another mirror.")
            headers = {"Accept": accept, "Accept-Encoding": "identity"}
            auth = _Header(authorization if urlsplit(url).netloc == home else "")
            with self._translated():
                answer = self._session.get(
                    url,
                    headers=headers,
                    auth=auth,
                    verify=self._verify,
                    timeout=_SECONDS,
                    stream=True,
                    allow_redirects=False,
                )
            if not answer.is_redirect:
                return answer
            url = urljoin(url, answer.headers["Location"])
            answer.close()
        raise DatabaseError(f"{self._reference.host} redirects without end. Use another mirror.")

    def _answer_to(self, challenge: str) -> str:
        """Return the Authorization header that a 401 asks for."""
        kind, _, rest = challenge.partition(" ")
        if kind.lower() == "basic" and self._credentials is not None:
            return _basic(*self._credentials)
        if kind.lower() != "bearer":
            raise self._refused()
        return f"Bearer {self._token(rest)}"

    def _token(self, terms: str) -> str:
        """Return the token that a Bearer challenge with these terms asks for."""
        try:
            challenge = parse_keqv_list(parse_http_list(terms))
        except ValueError:
            challenge = {}
        query = {name: challenge[name] for name in ("service", "scope") if name in challenge}
        query.setdefault("scope", f"repository:{self._reference.name}:pull")
        basic = _basic(*self._credentials) if self._credentials else ""
        try:
            address = requests.Request("GET", challenge.get("realm", ""), params=query).prepare().url or ""
        except requests.RequestException as error:
            raise DatabaseError(f"{self._reference.host} does not say where tokens are to be had.") from error
        with self._ask(address, "application/json", basic) as answer:
            self._check(answer)
            try:
                found = json.loads(self._text(answer))
                token = found.get("token") or found["access_token"]
            except (ValueError, KeyError, AttributeError, RecursionError) as error:
                raise DatabaseError(f"{urlsplit(address).netloc} sent no token. Is {address} a registry's?") from error
        return str(token)

    def _check(self, answer: requests.Response) -> None:
        """Raise DatabaseError for an answer that is not 200."""
        status = answer.status_code
        if status == requests.codes.ok:
            return
        answer.close()
        host = self._reference.host
        if status in (requests.codes.unauthorized, requests.codes.forbidden):
            raise self._refused()
        if status == requests.codes.not_found:
            raise DatabaseError(f"{host} has no {self._what}. Look at the name and the tag.")
        if status == requests.codes.too_many_requests:
            raise DatabaseError(
                f"{host} has had too many requests from here (429). Try again later, or with credentials."
            )
        raise DatabaseError(f"{host} answered {status} to a request for {self._what}. Look there, or try again later.")

    def _refused(self) -> DatabaseError:
        host = self._reference.host
        if self._credentials is None:
            return DatabaseError(f"{host} gives {self._what} to known users only. Name a file with --credentials.")
        return DatabaseError(
            f"{host} does not take these credentials for {self._what}. Look at the file of --credentials."
        )

    def _text(self, answer: requests.Response) -> bytes:
        with self._translated():
            body: bytes = answer.raw.read(_TEXT_LIMIT + 1)
        if len(body) > _TEXT_LIMIT:
            raise DatabaseError(
                f"{self._reference.host} sent more than {_TEXT_LIMIT // MIB} MiB in place of a manifest."
            )
        return body

    @contextmanager
    def _translated(self) -> Iterator[None]:
        host = self._reference.host
        try:
            yield
        except (requests.exceptions.SSLError, urllib3.exceptions.SSLError) as error:
            raise DatabaseError(
                f"The certificate of {host} is not to be trusted ({_reason(error)}). Name its authority with --ca."
            ) from error
        except requests.exceptions.ProxyError as error:
            text = f"The proxy before {host} does not let through ({_reason(error)}). Look at HTTPS_PROXY and NO_PROXY."
            raise DatabaseError(text) from error
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            text = f"The connection to {host} failed ({_reason(error)}). Look at its name, network, firewall and proxy."
            raise DatabaseError(text) from error


class _Header(requests.auth.AuthBase):
    """The Authorization header and nothing else: no ~/.netrc."""

    def __init__(self, authorization: str) -> None:
        self._authorization = authorization

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._authorization:
            request.headers["Authorization"] = self._authorization
        return request


class _Verified(io.RawIOBase):
    """The bytes of a layer, counted, hashed and told of on their way."""

    def __init__(self, raw: urllib3.response.BaseHTTPResponse, layer: Layer, host: str) -> None:
        super().__init__()
        self._raw = raw
        self._layer = layer
        self._host = host
        self._hash = hashlib.sha256()
        self._size = 0
        self._told = time.monotonic()

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes; none at the end. Raises DatabaseError for a layer of another size."""
        chunk: bytes = self._raw.read(size if size >= 0 else MIB)
        self._size += len(chunk)
        self._hash.update(chunk)
        if self._size > self._layer.size or (not chunk and self._size < self._layer.size):
            raise DatabaseError(
                f"{self._host} sent {self._size} bytes of a layer of {self._layer.size}. Try again, or another mirror."
            )
        if time.monotonic() > self._told + _PROGRESS_SECONDS:
            self._told = time.monotonic()
            log.info("%d of %d MiB", self._size // MIB, self._layer.size // MIB)
        return chunk

    def finish(self) -> None:
        """Read what is left. Raises DatabaseError when it was not the layer."""
        while self.read(MIB):
            pass
        found = f"sha256:{self._hash.hexdigest()}"
        if found != self._layer.digest:
            text = f"{self._host} sent a layer with the digest {found} for {self._layer.digest}."
            raise DatabaseError(f"{text} Try again, or another mirror.")


def _basic(user: str, password: str) -> str:
    """Return the Authorization header of a user (RFC 7617)."""
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def _reason(error: BaseException) -> str:
    """Return the innermost reason, without the addresses of objects that urllib3 puts around it."""
    while (inner := getattr(error, "reason", None) or (error.args[0] if error.args else None)) is not None:
        if not isinstance(inner, BaseException):
            break
        error = inner
    return re.sub(r"<[^>]*>(: )?", "", str(error)) or type(error).__name__
