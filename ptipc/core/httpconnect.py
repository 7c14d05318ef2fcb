"""A connection through an HTTP proxy by its method CONNECT, both ends.

``HttpConnectInitiator`` is what a transport needs to reach the world through an upstream proxy;
``HttpConnectResponder`` is the proxy's end.

Source: RFC 9110 section 9.3.6 (CONNECT), RFC 9112 (messages), RFC 7617 (Basic credentials).
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from typing import NoReturn

from ptipc.core.codecs import TARGET, Address, visible
from ptipc.core.errors import LocalProtocolError, RemoteProtocolError
from ptipc.core.handshake import Handshake, Reader, Script, Steps
from ptipc.core.socksreplies import (
    RequestForbidden,
    RequestRefused,
    TargetTimedOut,
    TargetUnreachable,
)

__all__ = ["HttpConnectInitiator", "HttpConnectResponder"]

_LIMIT = 16384  # octets of a head; as much as most servers allow
_END = b"\r\n\r\n"
_STATUS_LINE = re.compile(r"1\.[0-9] ([1-5][0-9]{2})(?: (.*))?")
_REQUEST_LINE = re.compile(r"([!-~]+) ([!-~]+) HTTP/1\.[0-9]")
_SUCCESS = range(200, 300)
_INTERIM = frozenset(range(100, 200)) - {101}  # RFC 9110, 15.2: any number may come first

_REFUSALS: dict[int, type[RequestRefused]] = {
    403: RequestForbidden,
    407: RequestForbidden,
    502: TargetUnreachable,
    503: TargetUnreachable,
    504: TargetTimedOut,
}
"""The statuses that say more than no."""

_REASONS = {
    400: "Bad Request",
    403: "Forbidden",
    405: "Method Not Allowed",
    407: "Proxy Authentication Required",
    502: "Bad Gateway",
    504: "Gateway Timeout",
}
"""What is written behind a status; readers ignore it."""


def _read_head(reader: Reader, limit: int) -> Steps[list[str]]:
    """The lines before an empty one, as octets."""
    head = yield from reader.until(_END, limit)
    return head.decode("latin-1").split("\r\n")


def _basic(user: str, password: str) -> str:
    """Credentials as RFC 7617 has them; the texts stand for octets (surrogateescape)."""
    if ":" in user:
        raise LocalProtocolError("the user name for an HTTP proxy cannot hold a colon")
    try:
        octets = f"{user}:{password}".encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise LocalProtocolError("a user name or password that is not Unicode text") from None
    return "Basic " + b64encode(octets).decode("ascii")


class HttpConnectInitiator(Handshake):
    """The end that asks an HTTP proxy for a connection.

    ``limit`` is how many octets the proxy's answer may have before the data.

    Raises LocalProtocolError, before anything is sent, if target or user name cannot be said;
    RequestRefused, with the HTTP status as its code, if the proxy says no.
    """

    def __init__(
        self,
        target: Address,
        user: str | None = None,
        password: str | None = None,
        *,
        limit: int = _LIMIT,
    ) -> None:
        try:
            authority = TARGET.emit(target)
        except ValueError as error:
            raise LocalProtocolError(str(error)) from None
        lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
        self._known = user is not None or password is not None
        if self._known:
            lines.append(f"Proxy-Authorization: {_basic(user or '', password or '')}")
        self._head = "\r\n".join(lines).encode("ascii") + _END
        self._limit = limit
        self.status: int | None = None
        """The status of the proxy's final answer."""
        super().__init__()

    def _run(self) -> Script:
        self._send(self._head)
        left = self._limit
        while True:
            start = yield from self._reader.exactly(5)
            if start != b"HTTP/":
                raise RemoteProtocolError(f"an answer that is not HTTP: it begins with {start!r}")
            head = yield from _read_head(self._reader, left)
            found = _STATUS_LINE.fullmatch(head[0])
            if found is None:
                raise RemoteProtocolError(f"not a status line of HTTP/1: {'HTTP/' + head[0]!r}")
            status = int(found[1])
            if status not in _INTERIM:
                break
            left -= sum(len(line) + 2 for line in head)
        self.status = status
        # RFC 9110, 9.3.6: whatever its headers say, an answer that grants has no content.
        if status not in _SUCCESS:
            self._refused(status, visible(found[2] or "").strip())

    def _refused(self, status: int, reason: str) -> NoReturn:
        said = f"{status} {reason}".rstrip()
        text = f"the HTTP proxy refused the connection: {said!r}"
        if status == 407:
            wrong = "did not take our user name and password"
            text = f"the HTTP proxy {wrong if self._known else 'wants a user name'}: {said!r}"
        raise _REFUSALS.get(status, RequestRefused)(text, status)


class HttpConnectResponder(Handshake):
    """The end that is asked for a connection.

    When ``target`` is set and ``bytes_needed`` is 0, it waits for ``grant`` or ``refuse``; whether
    ``user`` and ``password`` will do is its caller's business.
    """

    def __init__(self, *, limit: int = _LIMIT) -> None:
        self._limit = limit
        self._answer = b""
        self.target: Address | None = None
        """Where the client wants to go."""
        self.user: str | None = None
        """Who the client says it is; None: it does not say."""
        self.password: str | None = None
        """The password that goes with it."""
        self.granted = False
        """Whether the request was granted, once the exchange is done."""
        super().__init__()

    def grant(self) -> None:
        """Tell the client that it is connected.

        Raises LocalProtocolError if the request has not been read, or was answered.
        """
        self._answer = b"HTTP/1.1 200 Connection established" + _END
        self._resume()
        self.granted = True

    def refuse(self, status: int) -> None:
        """Tell the client that it is not connected, by a status from 400 to 599.

        Raises LocalProtocolError if the request has not been read, or was answered.
        """
        if status not in range(400, 600):
            raise LocalProtocolError(f"not a status that refuses (400 to 599): {status!r}")
        self._answer = self._refusal(status)
        self._resume()

    def _run(self) -> Script:
        first, *headers = yield from _read_head(self._reader, self._limit)
        found = _REQUEST_LINE.fullmatch(first)
        if found is None:
            self._deny(400, f"not a request line of HTTP/1: {first!r}")
        if found[1] != "CONNECT":
            self._deny(405, f"a method that is not CONNECT: {found[1]!r}")
        try:
            target = TARGET.parse(found[2])
        except ValueError as error:
            self._deny(400, str(error))
        for header in headers:
            name, _, value = header.partition(":")
            if name.lower() == "proxy-authorization":
                self._read_credentials(value.strip())
        self.target = target
        yield 0
        self._send(self._answer)

    def _read_credentials(self, value: str) -> None:
        scheme, _, encoded = value.partition(" ")
        try:
            if scheme.lower() != "basic":
                raise ValueError
            octets = b64decode(encoded.strip(), validate=True)
        except ValueError:
            self._deny(400, "a Proxy-Authorization that is not Basic")  # it may hold a secret
        user, _, password = octets.decode("utf-8", "surrogateescape").partition(":")
        self.user, self.password = user, password

    def _deny(self, status: int, text: str) -> NoReturn:
        self._send(self._refusal(status))
        raise RemoteProtocolError(text) from None

    @staticmethod
    def _refusal(status: int) -> bytes:
        lines = [f"HTTP/1.1 {status} {_REASONS.get(status, '')}"]
        if status == 405:
            lines.append("Allow: CONNECT")
        if status == 407:
            lines.append('Proxy-Authenticate: Basic realm="proxy", charset="UTF-8"')
        lines += ["Content-Length: 0", "Connection: close"]
        return "\r\n".join(lines).encode("ascii") + _END
