"""Tor's Extended ORPort, both ends: who is the client, and which transport does it come through.

A server transport is the initiator, the host (tor) the responder.  First the transport proves that
it can read the host's cookie file (SAFE_COOKIE), then it says what it knows in commands, and last
the host tells it to go on or not.
Source: ext-orport-spec; what tor does where that is silent is in dialects.md section 3.4.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from ipaddress import IPv6Address
from typing import Final

from ptipc.core.codecs import ADDRESS, IP, LISTENER, NAME, Address
from ptipc.core.errors import LocalProtocolError, Refused, RemoteProtocolError
from ptipc.core.handshake import Handshake, Script, Steps

__all__ = [
    "Denied",
    "ExtOrPortInitiator",
    "ExtOrPortResponder",
    "parse_cookie_file",
    "serialize_cookie_file",
]

# --- the cookie file (section 2.1.2) --------------------------------------------------------------

_HEADER: Final = b"! Extended ORPort Auth Cookie !\n"
_COOKIE: Final = 32


def parse_cookie_file(data: bytes) -> bytes:
    """The 32 octets of the cookie, out of the 64 octets of a cookie file.

    Read the file for each connection: tor may write it after it has launched the transport (tor
    bug 15240), and writes a new one when it restarts.
    Raises ValueError if the header or the length is wrong.
    """
    if not data.startswith(_HEADER):
        raise ValueError(f"not a cookie file: it does not begin with {_HEADER!r}")
    cookie = data[len(_HEADER) :]
    if len(cookie) != _COOKIE:
        raise ValueError(f"not a cookie file: {len(data)} octets instead of 64")
    return bytes(cookie)


def serialize_cookie_file(cookie: bytes) -> bytes:
    """The octets of a cookie file.  Raises ValueError if the cookie has not 32 octets."""
    if len(cookie) != _COOKIE:
        raise ValueError(f"a cookie has 32 octets, not {len(cookie)}")
    return _HEADER + cookie


# --- authentication (section 2.1.3) ---------------------------------------------------------------

_SAFE_COOKIE: Final = 1
_NONCE: Final = 32
_HASH: Final = 32
_AUTH_TYPES: Final = 256
"""The longest list: every type there is, and the 0 behind it."""

_SERVER_TO_CLIENT: Final = b"ExtORPort authentication server-to-client hash"
_CLIENT_TO_SERVER: Final = b"ExtORPort authentication client-to-server hash"


def _checked_cookie(cookie: bytes) -> bytes:
    if len(cookie) != _COOKIE:
        raise LocalProtocolError(f"a cookie has 32 octets, not {len(cookie)}")
    return bytes(cookie)


def _checked_nonce(nonce: bytes) -> bytes:
    if len(nonce) != _NONCE:
        raise LocalProtocolError(f"a nonce has 32 octets, not {len(nonce)}")
    return bytes(nonce)


def _hash(cookie: bytes, label: bytes, client_nonce: bytes, server_nonce: bytes) -> bytes:
    return hmac.digest(cookie, label + client_nonce + server_nonce, "sha256")


# --- commands (section 3.1) -----------------------------------------------------------------------

_DONE: Final = 0x0000
_USERADDR: Final = 0x0001
_TRANSPORT: Final = 0x0002
_OKAY: Final = 0x1000
_DENY: Final = 0x1001
# 0x1002, CONTROL, is not used: for both ends it is a code they do not know, and skip.


def _message(code: int, body: bytes = b"") -> bytes:
    return code.to_bytes(2, "big") + len(body).to_bytes(2, "big") + body


def _user_address(client: Address) -> bytes:
    ip = client.ip
    if ip is None:
        raise LocalProtocolError(f"not the IP address of a client: {client.host!r}")
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped  # a client of a dual-stack listener; goptlib writes it so, too
    host = str(ip).partition("%")[0]  # a scope means nothing to the host, and tor closes
    try:
        return LISTENER.emit(Address(host, client.port)).encode("ascii")
    except ValueError as error:
        raise LocalProtocolError(str(error)) from None


def _transport_name(name: str) -> bytes:
    try:
        text = NAME.parse(name).encode("ascii")
    except ValueError as error:
        raise LocalProtocolError(str(error)) from None
    if len(text) > 0xFFFF:
        raise LocalProtocolError(f"a name of {len(text)} octets; a command holds 65535")
    return text


def _parse_user_address(text: str) -> Address:
    if "%" in text:
        raise ValueError(f"an address with a scope: {text!r}")
    try:
        # tor takes an address without a port, and tries this first: 2001:db8::7:80 has none.
        return Address(IP.parse(text), 0)
    except ValueError:
        address = ADDRESS.parse(text)
    if address.port == 0:
        raise ValueError(f"port 0 in {text!r}")
    return address


class Denied(Refused):
    """The host wants no more traffic from this client for a while (DENY)."""


class ExtOrPortInitiator(Handshake):
    """The transport's end: authenticate, say who the client is, wait for OKAY.

    ``cookie`` is what ``parse_cookie_file`` made of the file, read for this very connection;
    ``nonce`` is 32 fresh random octets.  Send none of the client's data before ``done``: tor closes
    a connection on which it follows DONE at once.

    Raises LocalProtocolError for arguments that cannot be said, RemoteProtocolError if the host
    does not know the cookie or breaks the protocol, Refused if it does not believe us, Denied if
    it does not want the client.
    """

    def __init__(
        self, cookie: bytes, nonce: bytes, *, transport: str, client_address: Address | None = None
    ) -> None:
        self._cookie = _checked_cookie(cookie)
        self._nonce = _checked_nonce(nonce)
        self._commands = b""
        if client_address is not None:
            self._commands += _message(_USERADDR, _user_address(client_address))
        self._commands += _message(_TRANSPORT, _transport_name(transport)) + _message(_DONE)
        super().__init__()

    def _run(self) -> Script:
        yield from self._authenticate()
        self._send(self._commands)
        while True:
            code = int.from_bytes((yield from self._reader.exactly(2)), "big")
            length = int.from_bytes((yield from self._reader.exactly(2)), "big")
            yield from self._reader.exactly(length)  # "body ignored"
            if code == _OKAY:
                return
            if code == _DENY:
                raise Denied("the host wants no traffic from this client for a while", _DENY)

    def _authenticate(self) -> Script:
        offered = yield from self._reader.until(b"\0", _AUTH_TYPES)
        if _SAFE_COOKIE not in offered:
            self._send(b"\0")  # "the client did not like the authentication types"
            raise RemoteProtocolError(f"no SAFE_COOKIE among the types offered: {offered!r}")
        self._send(bytes([_SAFE_COOKIE]) + self._nonce)
        proof = yield from self._reader.exactly(_HASH)
        theirs = yield from self._reader.exactly(_NONCE)
        expected = _hash(self._cookie, _SERVER_TO_CLIENT, self._nonce, theirs)
        if not hmac.compare_digest(proof, expected):
            raise RemoteProtocolError("the host does not know the cookie: its hash is wrong")
        self._send(_hash(self._cookie, _CLIENT_TO_SERVER, self._nonce, theirs))
        status = (yield from self._reader.exactly(1))[0]
        if status == 0:
            raise Refused("the host says that our hash is wrong", status)
        if status != 1:
            raise RemoteProtocolError(f"neither 0 nor 1 as the authentication status: {status}")


class ExtOrPortResponder(Handshake):
    """The host's end: authenticate the transport, hear who the client is, decide.

    ``cookie`` is the content of the cookie file behind its header, or a function for that, which is
    asked when it has to be proved; ``nonce`` is 32 fresh random octets.  When ``bytes_needed``
    becomes 0 the transport has said all, and one of ``accept`` and ``deny`` is to be called.  Data
    of the client that comes right behind DONE is kept in ``trailing_data``; tor closes the
    connection there.

    Raises LocalProtocolError for a cookie or nonce of the wrong size, RemoteProtocolError if the
    transport does not know the cookie or sends a command that does not parse: close then.
    """

    def __init__(self, cookie: bytes | Callable[[], bytes], nonce: bytes) -> None:
        self._cookie = cookie if callable(cookie) else _checked_cookie(cookie)
        self._nonce = _checked_nonce(nonce)
        self._reply = b""
        self.client_address: Address | None = None
        """Where the client comes from, if said; port 0 if only the port was not, as in tor."""

        self.transport: str | None = None
        """The transport through which the client comes, if said."""

        self.accepted: bool | None = None
        """What our caller decided; None: nothing yet."""

        super().__init__()

    def accept(self) -> None:
        """Tell the transport to send the client's traffic (OKAY)."""
        self._decide(True, _OKAY)

    def deny(self) -> None:
        """Tell the transport that this client is not wanted for a while (DENY); then close."""
        self._decide(False, _DENY)

    def _decide(self, accepted: bool, code: int) -> None:
        self._reply = _message(code)
        self._resume()
        self.accepted = accepted

    def _run(self) -> Script:
        yield from self._authenticate()
        while (yield from self._command()) != _DONE:
            pass
        yield 0  # accept() or deny()
        self._send(self._reply)

    def _authenticate(self) -> Script:
        self._send(bytes([_SAFE_COOKIE, 0]))
        chosen = (yield from self._reader.exactly(1))[0]
        if chosen != _SAFE_COOKIE:
            raise RemoteProtocolError(f"an authentication type that was not offered: {chosen}")
        theirs = yield from self._reader.exactly(_NONCE)
        # It is the host that has to prove first that it knows the cookie, so one that is changing
        # has to choose.  The transport reads it when it connects (ours) or right after its nonce
        # (goptlib, real-programs 31): of the host's moments this one is the nearest to both.
        cookie = _checked_cookie(self._cookie()) if callable(self._cookie) else self._cookie
        self._send(_hash(cookie, _SERVER_TO_CLIENT, theirs, self._nonce) + self._nonce)
        proof = yield from self._reader.exactly(_HASH)
        expected = _hash(cookie, _CLIENT_TO_SERVER, theirs, self._nonce)
        if not hmac.compare_digest(proof, expected):
            self._send(b"\0")
            raise RemoteProtocolError("the transport does not know the cookie: its hash is wrong")
        self._send(b"\1")

    def _command(self) -> Steps[int]:
        code = int.from_bytes((yield from self._reader.exactly(2)), "big")
        length = int.from_bytes((yield from self._reader.exactly(2)), "big")
        body = yield from self._reader.exactly(length)
        try:
            if code == _USERADDR:
                self.client_address = _parse_user_address(body.decode("ascii"))
            elif code == _TRANSPORT:
                self.transport = NAME.parse(body.decode("ascii"))
        except ValueError as error:
            # "If the server receives a recognized command that does not parse, it MUST close".
            raise RemoteProtocolError(f"command {code:#06x} does not parse: {error}") from None
        return code
