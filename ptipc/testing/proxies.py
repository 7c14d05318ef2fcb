"""Upstream proxies of each kind that keep books, for tests of client transports.

They are written without ptipc's own machines, so that a mistake there is not made twice.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import socketserver
import threading
from collections.abc import Callable
from typing import Any, Literal

from attrs import define, field

from ptipc.core.codecs import Address, UpstreamProxy

__all__ = ["Kind", "Passage", "Proxy"]

Kind = Literal["http", "socks4a", "socks5"]

LONGEST = 65536


@define
class Passage:
    """What was asked of the proxy in one connection."""

    target: Address
    """Where it was to go; a name as it was said."""
    user: str | None
    """As whom; None: nobody said so."""
    password: str | None = field(repr=False)
    port: int = 0
    """By which port of this machine it went out; 0: it did not."""
    octets: int = 0
    """How many octets have passed, either way."""


class _Unwanted(Exception):
    """The answer to somebody who is not let through."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer


class Proxy(socketserver.ThreadingTCPServer):
    """An upstream proxy, which listens at once; use as a context manager.

    With a ``user`` only that one is let through.  ``refuse``: nobody is.  ``resolve`` says where a
    target is really to be found; by default names are all at 127.0.0.1, lest a test depends on DNS.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self,
        kind: Kind,
        user: str | None = None,
        password: str | None = None,
        *,
        refuse: bool = False,
        resolve: Callable[[Address], Address] | None = None,
    ) -> None:
        self.kind = kind
        self.user = user
        self.password = password
        self.refuse = refuse
        self.resolve = resolve or _at_home
        self.passages: list[Passage] = []
        """What was asked, in order, refused or not."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def __exit__(self, *exc: object) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()

    @property
    def place(self) -> UpstreamProxy:
        """How a host names the proxy."""
        address = Address("127.0.0.1", self.server_address[1])
        return UpstreamProxy(self.kind, address, self.user, self.password)

    @property
    def asked(self) -> list[Address]:
        """The targets that were asked for."""
        return [passage.target for passage in self.passages]

    def is_welcome(self, user: str | None, password: str | None) -> bool:
        """Whether somebody is let through."""
        known = self.kind == "socks4a" or (password or "") == (self.password or "")
        return self.user is None or (user == self.user and known)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks is no reason for a traceback."""


def _at_home(target: Address) -> Address:
    return target if target.ip is not None else Address("127.0.0.1", target.port)


class _Handler(socketserver.BaseRequestHandler):
    server: Proxy
    request: socket.socket

    def handle(self) -> None:
        hear = {"http": self._http, "socks4a": self._socks4a, "socks5": self._socks5}
        with contextlib.suppress(OSError, EOFError, UnicodeError, ValueError):
            try:
                passage, granted, refused = hear[self.server.kind]()
                self.server.passages.append(passage)
                self._carry(passage, granted, refused)
            except _Unwanted as unwanted:
                self.request.sendall(unwanted.answer)

    def _carry(self, passage: Passage, granted: bytes, refused: bytes) -> None:
        where = self.server.resolve(passage.target)
        if self.server.refuse:
            raise _Unwanted(refused)
        try:
            there = socket.create_connection((where.host, where.port), 10)
        except OSError:
            raise _Unwanted(refused) from None
        with there:
            there.settimeout(None)
            passage.port = there.getsockname()[1]
            self.request.sendall(granted)
            back = threading.Thread(target=_pump, args=(there, self.request, passage))
            back.start()
            _pump(self.request, there, passage)
            back.join()

    # --- what is asked

    def _http(self) -> tuple[Passage, bytes, bytes]:
        """CONNECT (RFC 9110, 9.3.6), with Basic authentication (RFC 7617)."""
        head = self._until(b"\r\n\r\n").decode("utf-8")
        first, *lines = head.split("\r\n")
        method, target, _ = first.split(" ")
        headers = dict(line.split(": ", 1) for line in lines if ": " in line)
        user = password = None
        token = headers.get("Proxy-Authorization", "")
        if token.startswith("Basic "):
            user, _, password = base64.b64decode(token[6:]).decode("utf-8").partition(":")
        host, _, port = target.rpartition(":")
        passage = Passage(Address(host.strip("[]"), int(port)), user, password)
        if method != "CONNECT":
            raise _Unwanted(b"HTTP/1.1 405 Method Not Allowed\r\n\r\n")
        if not self.server.is_welcome(user, password):
            self.server.passages.append(passage)
            raise _Unwanted(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
        return passage, b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 403 Forbidden\r\n\r\n"

    def _socks4a(self) -> tuple[Passage, bytes, bytes]:
        head = self._exactly(8)
        user = self._until(b"\0").decode("utf-8")
        host = socket.inet_ntoa(head[4:])
        if head[4:7] == bytes(3) and head[7]:
            host = self._until(b"\0").decode("utf-8")
        passage = Passage(Address(host, int.from_bytes(head[2:4], "big")), user or None, None)
        refused = b"\0\x5b" + bytes(6)
        if head[:2] != b"\4\1" or not self.server.is_welcome(user, None):
            self.server.passages.append(passage)
            raise _Unwanted(refused)
        return passage, b"\0\x5a" + bytes(6), refused

    def _socks5(self) -> tuple[Passage, bytes, bytes]:
        """RFC 1928, with RFC 1929 if it is offered and there is a user."""
        version, count = self._exactly(2)
        methods = self._exactly(count)
        if version != 5:
            raise EOFError
        method = 2 if 2 in methods and self.server.user is not None else 0
        if method not in methods or (self.server.user is not None and method == 0):
            raise _Unwanted(b"\5\xff")
        self.request.sendall(bytes((5, method)))
        user = password = None
        if method == 2:
            user = self._exactly(self._exactly(2)[1]).decode("utf-8")
            password = self._exactly(self._exactly(1)[0]).decode("utf-8")
            if not self.server.is_welcome(user, password):
                raise _Unwanted(b"\1\1")
            self.request.sendall(b"\1\0")
        _, command, _, kind = self._exactly(4)
        if kind == 3:
            host = self._exactly(self._exactly(1)[0]).decode("utf-8")
        elif kind == 1:
            host = socket.inet_ntop(socket.AF_INET, self._exactly(4))
        else:
            host = socket.inet_ntop(socket.AF_INET6, self._exactly(16))
        passage = Passage(Address(host, int.from_bytes(self._exactly(2), "big")), user, password)
        if command != 1:
            raise _Unwanted(b"\5\7\0\1" + bytes(6))
        return passage, b"\5\0\0\1" + bytes(6), b"\5\5\0\1" + bytes(6)

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            if not (more := self.request.recv(count - len(data))):
                raise EOFError
            data += more
        return data

    def _until(self, mark: bytes) -> bytes:
        """What comes before a mark; octet by octet, so that what is behind it is left."""
        data = b""
        while not data.endswith(mark) and len(data) < LONGEST:
            data += self._exactly(1)
        return data.removesuffix(mark)


def _pump(source: socket.socket, sink: socket.socket, passage: Passage) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            passage.octets += len(data)
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
