"""An upstream proxy that keeps books, written without a line of ptipc's own SOCKS."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator

from attrs import define

from ptipc.core.codecs import Address, UpstreamProxy


class Proxy(socketserver.ThreadingTCPServer):
    """A SOCKS5 proxy that asks for a name and a password, and keeps books."""

    daemon_threads = True
    name, password = b"us/er@x", b"p:a%ss"

    def __init__(self) -> None:
        self.passages: list[Passage] = []
        super().__init__(("127.0.0.1", 0), ProxyHandler)

    @property
    def place(self) -> UpstreamProxy:
        """How a host names the proxy."""
        address = Address("127.0.0.1", self.server_address[1])
        return UpstreamProxy("socks5", address, self.name.decode(), self.password.decode())

    @property
    def carried(self) -> int:
        """How many octets have passed it, either way."""
        return sum(passage.octets for passage in self.passages)


@define
class Passage:
    """A connection through the proxy."""

    target: Address
    port: int
    """By which it went out."""
    octets: int = 0


class ProxyHandler(socketserver.StreamRequestHandler):
    server: Proxy

    def handle(self) -> None:
        with contextlib.suppress(OSError, EOFError):
            target = self._hear_target()
            with socket.create_connection((target.host, target.port)) as there:
                passage = Passage(target, there.getsockname()[1])
                self.server.passages.append(passage)
                self.connection.sendall(b"\5\0\0\1" + bytes(6))
                back = threading.Thread(target=pump, args=(there, self.connection, passage))
                back.start()
                pump(self.connection, there, passage)
                back.join()

    def _hear_target(self) -> Address:
        """RFC 1928 and 1929, as far as a client needs them that has an IPv4 address to go to."""
        self._exactly(self._exactly(2)[1])
        self.connection.sendall(b"\5\2")
        name = self._exactly(self._exactly(2)[1])
        password = self._exactly(self._exactly(1)[0])
        allowed = (name, password) == (self.server.name, self.server.password)
        self.connection.sendall(b"\1\0" if allowed else b"\1\1")
        if not allowed or self._exactly(4) != b"\5\1\0\1":
            raise EOFError
        return Address(socket.inet_ntoa(self._exactly(4)), int.from_bytes(self._exactly(2), "big"))

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self.connection.recv(count - len(data))
            if not more:
                raise EOFError
            data += more
        return data


def pump(source: socket.socket, sink: socket.socket, passage: Passage) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            passage.octets += len(data)
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def in_a_thread(server: socketserver.BaseServer) -> Iterator[None]:
    """A server that serves for as long as the block lasts."""
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
