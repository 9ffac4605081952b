"""An instance as far as the balancer sees one: answers every request over a Unix socket with the host's name."""

import http.server
import os
import socketserver
from pathlib import Path

SOCKET = Path("/run/edge-backend-1.sock")


class Answer(http.server.BaseHTTPRequestHandler):
    """One answer for everything."""

    def address_string(self) -> str:
        """Return what the log calls the client: a Unix socket has no address."""
        return "balancer"

    def do_GET(self) -> None:
        """Say who answers."""
        body = os.uname().nodename.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """A thread a connection."""

    daemon_threads = True


if __name__ == "__main__":
    SOCKET.unlink(missing_ok=True)
    server = Server(str(SOCKET), Answer)
    SOCKET.chmod(0o666)
    server.serve_forever()
