"""A way to Redis that a test can cut, without harming other tests' Redis."""

import contextlib
import socket
import threading


class Forwarder:
    """Hands TCP connections on to `(host, port)` until it is cut or frozen."""

    def __init__(self, host: str, port: int, *, at: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        self._target = (host, port)
        self._address = at[0]
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._flows = threading.Event()
        self.port = at[1]
        self.mend()

    def mend(self) -> None:
        """Take connections (again), on the same port, and hand everything on."""
        self._flows.set()
        if self._listener is not None:
            return
        self._listener = socket.create_server((self._address, self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Refuse new connections and end the open ones."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for end in list(self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def freeze(self) -> None:
        """Hand nothing on, and end nothing: what is connected is half open now."""
        self._flows.clear()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(self._target)
                for source, sink in ((near, far), (far, near)):
                    self._open.add(source)
                    threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._flows.wait()
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        source.close()
        self._open.discard(source)
