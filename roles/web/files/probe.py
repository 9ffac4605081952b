"""Try an instance as a client would: open its socket, store an event, and wait until it arrives.

Usage: python - SOCKET RELEASE USER, with the settings of the web instances and the Python of a release. The event is a
`notice`, which no page shows. The token that lets it in is revoked at the end. Exit status 1 and one line on standard
error when something is not as it should be.
"""

import asyncio
import json
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
from app.config import get_settings
from websockets.asyncio.client import unix_connect

PATIENCE = 10.0  # seconds for each of the handshake, the greeting and the event


class NotWellError(Exception):
    """What the instance did not do."""


def vulsctl(*arguments: str) -> dict[str, Any]:
    """Run the release's own operator command and return its answer."""
    program = Path(sys.executable).with_name("vulsctl")
    done = subprocess.run([program, *arguments, "--json"], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise NotWellError(f"vulsctl {' '.join(arguments[:2])} ended with {done.returncode}: {done.stderr.strip()}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def store_event(mark: str) -> None:
    """Store an event that pages ignore; whoever may see all hosts is sent it."""
    with psycopg.connect(get_settings().database_dsn) as connection:
        connection.execute("INSERT INTO event (type, data) VALUES ('notice', %s)", [json.dumps({"probe": mark})])


async def probe(socket: str, release: str, token: str) -> None:
    """Follow the feed until the event is here. Raises NotWellError, OSError, TimeoutError or one of the library's."""
    mark = secrets.token_hex(8)
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        asyncio.timeout(3 * PATIENCE),
        unix_connect(socket, "ws://localhost/api/ws", additional_headers=headers, open_timeout=PATIENCE) as feed,
    ):
        hello = json.loads(await asyncio.wait_for(feed.recv(), PATIENCE))
        if hello.get("type") != "hello" or hello["data"]["release"] != release:
            raise NotWellError(f"the first message is no greeting of release {release}: {hello}")
        await asyncio.to_thread(store_event, mark)
        try:
            async with asyncio.timeout(PATIENCE):
                while json.loads(await feed.recv()).get("data", {}).get("probe") != mark:
                    pass
        except TimeoutError:
            raise NotWellError(f"an event that was stored did not arrive within {PATIENCE:g} s") from None


def main() -> int:
    """Make a token, try the instance, revoke the token."""
    socket, release, user = sys.argv[1:]
    try:
        made = vulsctl("token", "create", user, "--name", "rollout", "--days", "1")
        try:
            asyncio.run(probe(socket, release, made["token"]))
        finally:
            vulsctl("token", "revoke", str(made["id"]))
    except Exception as error:  # noqa: BLE001  (whatever it is, it is what the operator has to read)
        sys.stderr.write(f"the instance behind {socket} is not well: {type(error).__name__}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
