"""A connection between a browser and a server that can fail."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit


class Wire:
    """A TCP proxy. `silence` stops what the server says on connections whose last request was for a certain path."""

    def __init__(self, url: str) -> None:
        self._to = (str(urlsplit(url).hostname), int(urlsplit(url).port or 80))
        self._server = socket.create_server(("127.0.0.1", 0))
        self._asked: dict[socket.socket, bytes] = {}
        self._silent: set[socket.socket] = set()
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def silence(self, path: str) -> int:
        """Return how many connections are silent from now on."""
        self._silent |= {client for client, line in list(self._asked.items()) if path.encode() in line}
        return len(self._silent)

    def close(self) -> None:
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            server = socket.create_connection(self._to)
            threading.Thread(target=self._pump, args=(client, client, server), daemon=True).start()
            threading.Thread(target=self._pump, args=(client, server, client), daemon=True).start()

    def _pump(self, client: socket.socket, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                if source is client and data.startswith((b"GET ", b"POST ")):
                    self._asked[client] = data.partition(b"\r\n")[0]
                if client not in self._silent:
                    target.sendall(data)
        except OSError:
            pass
        finally:
            source.close()
            target.close()


@contextmanager
def wire(url: str) -> Iterator[Wire]:
    """Give a connection to a server."""
    made = Wire(url)
    try:
        yield made
    finally:
        made.close()
