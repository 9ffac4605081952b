"""The reading end of `vulsctl watch`: a socket that comes back with its cursor."""

import asyncio
import json
import random
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from app.cli.watch_cursor import CursorFile
from app.cli.watch_lines import Lines
from app.domain.backoff import delays

_LOOK_AT_URL = "look at --url: https://NAME or https://NAME:PORT, no path"
SILENCE_LIMIT = 45.0  # seconds; three heartbeats of the server's default
STABLE_AFTER = 10.0  # seconds from `hello` that a connection must last before earlier failures are forgotten
LONGEST_WAIT = 30.0  # seconds between two tries
_CONTROL = {"hello", "resumed", "heartbeat", "resync_required", "reconnect", "error", "snapshot"}
_STATES = {
    "live": "events come at once again",
    "delayed": "events come up to 2 s late: the server is not woken by Redis; nothing is missed",
    "stale": "the server cannot read its event log; what happens meanwhile comes when it can",
}
_CLOSES = {
    1012: "the instance stops",
    4008: "this program read too slowly and was cut off",
    4029: "too many connections of this user",
}
_FINAL_CLOSES = {
    4001: ("the token was revoked or has ended", "make another: `vulsctl token create USER --name WHAT`"),
    4003: ("the token's user may not sign in any more", "ask an administrator: `vulsctl user enable NAME`"),
    4009: ("the server does not understand this program", "install the `vulsctl` of the release that it runs"),
}


class Refused(Exception):  # noqa: N818  (an answer, not a fault)
    """Trying again would not help. Says what is wrong and what to do about it."""

    def __init__(self, what: str, next_step: str) -> None:
        super().__init__(what)
        self.next_step = next_step


class ComeBack(Exception):  # noqa: N818  (an answer, not a fault)
    """The connection is over, and may be tried again after `wait` seconds or more."""

    def __init__(self, why: str, wait: float = 0.0) -> None:
        super().__init__(why)
        self.wait = wait


class Server:
    """Where the events come from."""

    def __init__(self, address: str, token: str, trust: ssl.SSLContext) -> None:
        self.address = address
        self._headers = {"Authorization": f"Bearer {token}"}
        self._trust = trust

    async def newest(self) -> str:
        """Return the newest cursor.

        Raises:
            httpx.HTTPError, OSError: nobody answers, or not as this server does.
            Refused, ComeBack: the server does not want to.
        """
        async with httpx.AsyncClient(verify=self._trust, headers=self._headers, timeout=15) as client:
            response = await client.get(f"{self.address}/api/notifications")
        if response.status_code != httpx.codes.OK:
            raise answered(response.status_code, response.headers, response.content)
        body = response.json()
        if not isinstance(body, dict) or not isinstance(body.get("next"), str):
            raise Refused("the answer is not one of Vuls Live", _LOOK_AT_URL)
        return str(body["next"])

    def connection(self, cursor: str) -> connect:
        """Return a socket that continues from `cursor`, to be opened by `async with`.

        The library's client for threads is not used: it reads and writes a TLS connection in two threads at once, which
        OpenSSL does not allow, and about three handshakes in a thousand were never answered (websockets 17.4).
        """
        return connect(
            f"{self.address.replace('https', 'wss', 1)}/api/ws?since={quote(cursor)}",
            ssl=self._trust,
            additional_headers=self._headers,
            close_timeout=2,
        )


class Follower:
    """Reads the feed and comes back to it, until it has printed enough."""

    def __init__(self, server: Server, place: CursorFile, lines: Lines, count: int | None) -> None:
        self._server = server
        self._place = place
        self._lines = lines
        self._left = count
        # What was followed before is expected to come back when it cannot be reached.
        self._reached = place.kept
        self._up_since: float | None = None  # of this connection: when `hello` came
        self._state = "live"

    async def follow(self) -> None:
        """Follow until enough was printed.

        Raises:
            Refused: it cannot go on.
        """
        waits = _waits()
        while True:
            self._up_since = None
            try:
                return await self._connected()
            except ComeBack as reason:
                if self._up_since is not None and time.monotonic() - self._up_since > STABLE_AFTER:
                    waits = _waits()
                wait = reason.wait + next(waits)
                self._lines.notice(f"{reason}; coming back in {wait:.1f} s")
                await asyncio.sleep(wait)

    async def _connected(self) -> None:
        """Follow over one connection; return when enough was printed."""
        try:
            if self._place.cursor is None:
                self._place.move(await self._server.newest())
            async with self._server.connection(self._place.cursor or "") as feed:
                await self._read(feed)
        except ConnectionClosed as closed:
            raise self._closed(closed) from closed
        except InvalidStatus as refused:
            response = refused.response
            raise answered(response.status_code, response.headers, bytes(response.body or b"")) from refused
        except (httpx.HTTPError, InvalidHandshake, OSError, ValueError) as error:
            raise self._unreachable(error) from error

    async def _read(self, feed: ClientConnection) -> None:
        while self._left != 0:
            try:
                async with asyncio.timeout(SILENCE_LIMIT):
                    message = json.loads(await feed.recv())
            except TimeoutError:
                raise ComeBack(f"nothing came for {SILENCE_LIMIT:.0f} s") from None
            await self._handle(message)

    async def _handle(self, message: Mapping[str, Any]) -> None:
        data = message.get("data")
        if not isinstance(data, Mapping):
            data = {}
        match message["type"]:
            case "hello":
                self._reached = True
                self._up_since = time.monotonic()
            case "heartbeat":
                self._tell_state(str(data.get("state", "live")))
            case "resync_required":
                await self._resync(message, str(data.get("reason")))
            case "reconnect":
                raise ComeBack(
                    "the instance is about to stop", min(float(data.get("after_ms", 0)) / 1000, LONGEST_WAIT)
                )
            case kind if kind not in _CONTROL:
                self._print(message)
        if message["type"] not in _CONTROL - {"heartbeat"} and "id" in message:
            self._place.move(message["id"])

    def _print(self, message: Mapping[str, Any]) -> None:
        if self._lines.message(message) and self._left is not None:
            self._left -= 1

    def _tell_state(self, state: str) -> None:
        if state != self._state and state in _STATES:
            self._lines.notice(_STATES[state])
            self._state = state

    async def _resync(self, message: Mapping[str, Any], reason: str) -> None:
        """Go on from now: what lies between cannot be told, and a program has to know."""
        behind = self._place.cursor
        newest = await self._server.newest()
        if self._lines.as_json:
            self._print(message)
        self._place.move(newest)
        if self._left == 0:
            return
        sentence = f"what happened after {behind} cannot be told event by event ({reason})"
        raise ComeBack(
            f"{sentence}: the page and /api/overview show how things are; going on from {self._place.cursor}"
        )

    def _closed(self, closed: ConnectionClosed) -> Refused | ComeBack:
        code = closed.rcvd.code if closed.rcvd else 1006
        if code in _FINAL_CLOSES:
            return Refused(*_FINAL_CLOSES[code])
        return ComeBack(_CLOSES.get(code, f"the connection broke ({code})"), LONGEST_WAIT if code == 4029 else 0)

    def _unreachable(self, error: Exception) -> Refused | ComeBack:
        """Say why nobody answers. Before there ever was a connection it is the user who has to mend it."""
        host = urlsplit(self._server.address).hostname
        cause = _first_cause(error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Refused(
                f"the certificate of {host} is not trusted: {cause.verify_message}",
                "name the certificate authority with --ca-file, and the server as its certificate does",
            )
        if self._reached:
            return ComeBack(f"{host} does not answer: {cause}")
        if isinstance(cause, socket.gaierror):
            return Refused(f"the name {host} is not known", "look at --url for a slip, and at this machine's DNS")
        return Refused(
            f"{self._server.address} does not answer as Vuls Live does: {cause}", "look at --url and at the network"
        )


def answered(status: int, headers: Mapping[str, str], body: bytes) -> Refused | ComeBack:
    """Return what an HTTP answer other than the wanted one means."""
    try:
        detail = str(json.loads(body)["detail"])
    except (ValueError, KeyError, TypeError):
        detail = "no reason was given"
    match status:
        case 400:
            return Refused(f"the server refuses (400): {detail}", "name a cursor that this server printed, or none")
        case 401:
            return Refused("the token is not accepted (401)", "make one: `vulsctl token create USER --name WHAT`")
        case 403:
            return Refused(f"the server refuses (403): {detail}", "ask an administrator")
        case _ if status == 429 or status >= 500:
            wait = headers.get("Retry-After", "")
            return ComeBack(
                f"the server does not take us now ({status}): {detail}", float(wait) if wait.isdigit() else 0
            )
        case _:
            return Refused(
                f"there is no feed of Vuls Live (the answer is {status})", "look at --url: https://NAME, no path"
            )


def _waits() -> Iterator[float]:
    """Yield seconds between tries, up to `LONGEST_WAIT`, spread so that many programs do not come back at once."""
    return delays(1.0, LONGEST_WAIT, jitter=0.9, chance=random.random)


def _first_cause(error: BaseException) -> BaseException:
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error
