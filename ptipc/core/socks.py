"""SOCKS 4, 4a and 5, both ends, as transports and hosts speak it.

``SocksResponder`` is the transport's end: it tells the versions apart by the first octet, reads the
args and the target, and waits for its caller to ``grant`` or ``refuse``.  ``SocksInitiator`` is the
host's end, and also the one that talks to an upstream proxy.

Source: RFC 1928, RFC 1929, SOCKS4 and SOCKS4a, PT 1 section 3.5, PT 2.0 section 3.3.4.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Any, NoReturn, TypeAlias

from ptipc.core.codecs import IP, TARGET, Address
from ptipc.core.dialects import Dialect
from ptipc.core.errors import LocalProtocolError, RemoteProtocolError
from ptipc.core.escapes import ARGS, NO_ARGS, Args
from ptipc.core.handshake import Handshake, HandshakeTimeout, Reader, Script, Steps
from ptipc.core.socksauth import (
    AuthMethod,
    Credentials,
    JsonBlock,
    NoAuth,
    Send,
    UserPass,
    accepted_methods,
    method_for,
)
from ptipc.core.socksreplies import (
    REPLIES,
    AddressUnsupported,
    ArgsRefused,
    NetworkUnreachable,
    Reply,
    ReplyCode,
    RequestForbidden,
    RequestRefused,
    Socks4Code,
    TargetRefused,
    TargetTimedOut,
    TargetUnreachable,
    failure,
    refusal,
    reply_for,
)

__all__ = [
    "REPLIES",
    "AddressUnsupported",
    "Args",
    "ArgsRefused",
    "AuthMethod",
    "Credentials",
    "JsonBlock",
    "NetworkUnreachable",
    "NoAuth",
    "Reply",
    "ReplyCode",
    "RequestForbidden",
    "RequestRefused",
    "Send",
    "Socks4Code",
    "SocksInitiator",
    "SocksResponder",
    "Target",
    "TargetRefused",
    "TargetTimedOut",
    "TargetUnreachable",
    "UserPass",
    "accepted_methods",
    "method_for",
    "reply_for",
]

Target: TypeAlias = Address
"""Where a connection is to go; the host may be a name."""

_CONNECT = 1
_COMMANDS = {2: "BIND", 3: "UDP ASSOCIATE"}
_NONE_ACCEPTABLE = 0xFF
_USER_ID_LIMIT = 65536  # nobody has set one; tor allows 510
_NAME_LIMIT = 255  # RFC 1928, 5: the length of a name is one octet


# --- what both ends share -------------------------------------------------------------------------


def _looks_like(octet: int) -> str:
    if octet == 0x16:
        return "like TLS"
    return (
        "like HTTP" if chr(octet).isascii() and chr(octet).isalpha() else "like no protocol we know"
    )


def _octets_of(address: Address) -> bytes:
    """A host's octets, an IP address or a name, checked to be what the wire can hold."""
    try:
        TARGET.emit(address)
    except ValueError as error:
        raise LocalProtocolError(str(error)) from None
    return address.host.encode("ascii") if address.ip is None else address.ip.packed


def _serialize_address(address: Address) -> bytes:
    host = _octets_of(address)
    if address.ip is None:
        host = bytes((3, len(host))) + host
    else:
        host = bytes((1 if len(host) == 4 else 4,)) + host
    return host + address.port.to_bytes(2, "big")


_NOWHERE = _serialize_address(Address("0.0.0.0", 0))


def _read_address(reader: Reader, kind: int) -> Steps[tuple[bytes | str, int] | None]:
    """The host, octets if it is a name, and the port; None if there is no such kind of address."""
    host: bytes | str
    if kind == 1:
        host = str(IPv4Address((yield from reader.exactly(4))))
    elif kind == 3:
        host = yield from reader.exactly((yield from reader.exactly(1))[0])
    elif kind == 4:
        host = IP.parse(str(IPv6Address((yield from reader.exactly(16)))))
    else:
        return None
    return host, int.from_bytes((yield from reader.exactly(2)), "big")


def _is_named(octets: bytes) -> bool:
    """Whether an IPv4 address says that a name follows: 0.0.0.x with x not 0 (SOCKS4a)."""
    return octets[:3] == b"\0\0\0" and octets[3] != 0


# --- the transport's end --------------------------------------------------------------------------


class SocksResponder(Handshake):
    """The end of SOCKS that is asked to connect.

    ``methods`` are those it accepts in SOCKS5, the preferred one first; with none it turns every
    SOCKS5 client away.  ``versions``: 4, which includes 4a, and 5.  ``user_id_limit`` is how many
    octets the user id of SOCKS4 may have.

    When ``target`` is set and ``bytes_needed`` is 0, it waits for ``grant`` or ``refuse``; ``done``
    follows either.  What the client sends early, it keeps as ``trailing_data`` (goptlib does not).
    """

    def __init__(
        self,
        *methods: AuthMethod,
        versions: Collection[int] = (4, 5),
        user_id_limit: int = _USER_ID_LIMIT,
    ) -> None:
        self._methods = methods
        self._versions = versions
        self._user_id_limit = user_id_limit
        self._answer = b""
        self.version: int | None = None
        """Which version the client speaks."""
        self.method: AuthMethod | None = None
        """Which method was chosen; None in SOCKS4."""
        self.command: int | None = None
        """What the client asks for; anything but CONNECT, 1, is refused."""
        self.target: Address | None = None
        """Where the client wants to go."""
        self.args = NO_ARGS
        """The per-connection args."""
        self.granted = False
        """Whether the request was granted, once the exchange is done."""
        super().__init__()

    @classmethod
    def for_dialect(
        cls, dialect: Dialect, *, draft: bool = False, user_id_limit: int = _USER_ID_LIMIT
    ) -> SocksResponder:
        """One that accepts what an edition allows; ``draft``: and method 0x80 (C47, C50)."""
        return cls(
            *accepted_methods(dialect, draft=draft),
            versions=(4, 5) if "socks4" in dialect.protocols else (5,),
            user_id_limit=user_id_limit,
        )

    # --- decisions

    def grant(self, bound: Address | None = None) -> None:
        """Tell the client that it is connected; by default from 0.0.0.0:0, as all transports say.

        Raises LocalProtocolError if the request has not been read, or was answered.
        """
        address = _NOWHERE if bound is None else _serialize_address(bound)
        if self.version == 4:
            # The address means nothing here, and there is no room for any but IPv4.
            port, ip = (address[-2:], address[1:-2]) if address[0] == 1 else (bytes(2), bytes(4))
            self._answer = bytes((0, Socks4Code.GRANTED)) + port + ip
        else:
            self._answer = bytes((5, ReplyCode.SUCCEEDED, 0)) + address
        self._resume()
        self.granted = True

    def refuse(self, code: int) -> None:
        """Tell the client that it is not connected, and why: a ``ReplyCode``, see ``reply_for``.

        SOCKS4 has one code for all reasons.  Whoever has the socket then closes it.
        Raises LocalProtocolError if the request has not been read, or was answered.
        """
        if code == ReplyCode.SUCCEEDED or code not in ReplyCode.__members__.values():
            raise LocalProtocolError(f"not a reply code that refuses: {code!r}")
        self._answer = self._failure(ReplyCode(code))
        self._resume()

    # --- the script

    def _run(self) -> Script:
        (version,) = yield from self._reader.exactly(1)
        if version not in (4, 5):
            raise RemoteProtocolError(
                f"the first octet is {version:#04x}, which looks {_looks_like(version)}, not SOCKS"
            )
        self.version = version
        if version not in self._versions:
            raise RemoteProtocolError(f"a client that speaks SOCKS{version}, which we do not")
        if version == 4:
            yield from self._read_socks4()
        else:
            yield from self._read_greeting()
            yield from self._read_request()
        try:
            yield 0
        except HandshakeTimeout:
            self._send(self._failure(ReplyCode.TTL_EXPIRED))
            raise
        self._send(self._answer)

    def _read_greeting(self) -> Script:
        (count,) = yield from self._reader.exactly(1)
        offered = yield from self._reader.exactly(count)
        for method in self._methods:
            if method.code in offered:
                break
        else:
            self._send(bytes((5, _NONE_ACCEPTABLE)))
            raise RemoteProtocolError(f"no method that we accept is offered: {offered.hex(' ')!r}")
        self.method = method
        self._send(bytes((5, method.code)))
        self.args = Args((yield from method.serve(self._reader, self._send)))

    def _read_request(self) -> Script:
        # The reserved octet ought to be 0, but nothing depends on it.
        version, command, _, kind = yield from self._reader.exactly(4)
        if version != 5:
            self._deny(f"a request of version {version:#04x} after a greeting of version 0x05")
        found = yield from _read_address(self._reader, kind)
        if found is None:
            text = f"not a type of address (1, 3, 4): {kind:#04x}"
            self._deny(text, ReplyCode.ADDRESS_NOT_SUPPORTED)
        self._accept(command, *found)

    def _read_socks4(self) -> Script:
        (command,) = yield from self._reader.exactly(1)
        port = int.from_bytes((yield from self._reader.exactly(2)), "big")
        ip = yield from self._reader.exactly(4)
        user_id = yield from self._reader.until(b"\0", self._user_id_limit + 1)
        host: bytes | str = str(IPv4Address(ip))
        if _is_named(ip):
            host = yield from self._reader.until(b"\0", _NAME_LIMIT + 1)
        try:
            self.args = ARGS.parse(user_id.decode("utf-8", "surrogateescape"))
        except ValueError as error:
            self._deny(f"a user id of {len(user_id)} octets that is not args: {error}")
        self._accept(command, host, port)

    def _accept(self, command: int, host: bytes | str, port: int) -> None:
        self.command = command
        if command != _CONNECT:
            text = f"a command that is not CONNECT: {_COMMANDS.get(command, hex(command))}"
            self._deny(text, ReplyCode.COMMAND_NOT_SUPPORTED)
        if isinstance(host, bytes):
            try:
                name = host.decode("utf-8")
            except UnicodeDecodeError:
                self._deny(f"a host name that is not UTF-8: {host!r}")
            if not name or not name.isprintable():
                self._deny(f"not a host name: {name!r}")
            host = name
        self.target = Address(host, port)

    def _failure(self, code: ReplyCode) -> bytes:
        return bytes((0, Socks4Code.FAILED)) + bytes(6) if self.version == 4 else failure(code)

    def _deny(self, text: str, code: ReplyCode = ReplyCode.GENERAL_FAILURE) -> NoReturn:
        self._send(self._failure(code))
        raise RemoteProtocolError(text) from None


# --- the host's end -------------------------------------------------------------------------------


class SocksInitiator(Handshake):
    """The end of SOCKS that asks to be connected.

    ``version`` is 5, or 4, where a target that is a name makes it 4a.  ``method`` says how the args
    are sent; by default as in PT 1: in a user name and password, and with no args not at all.

    Raises LocalProtocolError, before anything is sent, if target or args cannot be said.  The
    server's refusal is a ``RequestRefused``: see ``REPLIES``.
    """

    def __init__(
        self,
        target: Address,
        method: AuthMethod | None = None,
        args: Mapping[str, Any] | Iterable[tuple[str, Any]] = (),
        *,
        version: int = 5,
    ) -> None:
        self._args = Args(args)
        self._method = method or (UserPass() if self._args else NoAuth())
        self._version = version
        if version == 5:
            self._request = bytes((5, _CONNECT, 0)) + _serialize_address(target)
            # A rehearsal, up to the first answer: the args should fail here, not on the wire.
            next(self._method.request(self._args, Reader(), lambda data: None), None)
        elif version == 4:
            self._request = self._socks4_request(target)
        else:
            raise LocalProtocolError(f"not a version of SOCKS (4, 5): {version!r}")
        self.bound: Address | None = None
        """Where the server says it has connected from; real transports say 0.0.0.0:0."""
        super().__init__()

    @classmethod
    def for_dialect(
        cls,
        dialect: Dialect,
        target: Address,
        args: Mapping[str, Any] | Iterable[tuple[str, Any]] = (),
        *,
        version: int = 5,
    ) -> SocksInitiator:
        """One that sends args the way an edition does (C47)."""
        args = Args(args)
        method = method_for(dialect, args) if version == 5 else None
        return cls(target, method, args, version=version)

    def _socks4_request(self, target: Address) -> bytes:
        host = _octets_of(target)
        name = b""
        if target.ip is None:
            host, name = b"\0\0\0\1", host + b"\0"
        elif len(host) != 4:
            raise LocalProtocolError(f"SOCKS4 cannot name an IPv6 address: {target.host!r}")
        elif _is_named(host):
            raise LocalProtocolError(f"SOCKS4 takes this for the mark of a name: {target.host!r}")
        user_id = self._method.user_id(self._args)
        if b"\0" in user_id:
            raise LocalProtocolError("a SOCKS4 user id cannot hold a NUL")
        if len(user_id) > _USER_ID_LIMIT:
            raise LocalProtocolError(
                f"a SOCKS4 user id of {len(user_id)} octets is over the limit of {_USER_ID_LIMIT}"
            )
        port = target.port.to_bytes(2, "big")
        return bytes((4, _CONNECT)) + port + host + user_id + b"\0" + name

    def _run(self) -> Script:
        if self._version == 4:
            self._send(self._request)
            yield from self._read_socks4_reply()
            return
        # One message at a time: Go's transports drop a client that says more (real-programs 20).
        offered = bytes((self._method.code,))
        if self._method.optional:
            offered += bytes((NoAuth.code,))
        self._send(bytes((5, len(offered))) + offered)
        version, chosen = yield from self._reader.exactly(2)
        self._check_version(version)
        if chosen == _NONE_ACCEPTABLE:
            raise RequestForbidden(
                f"the server accepts none of the methods offered: {offered.hex(' ')!r}", chosen
            )
        if chosen not in offered:
            raise RemoteProtocolError(f"the server chose {chosen:#04x}, which was not offered")
        if chosen == self._method.code:
            yield from self._method.request(self._args, self._reader, self._send)
        self._send(self._request)
        # C48: after a JSON block the reply may come before the request; it looks the same.
        yield from self._read_reply()

    def _check_version(self, version: int) -> None:
        if version != 5:
            raise RemoteProtocolError(
                f"an answer that begins with {version:#04x}, which looks {_looks_like(version)}, "
                "not SOCKS5"
            )

    def _read_reply(self) -> Script:
        version, code = yield from self._reader.exactly(2)
        self._check_version(version)
        if code != ReplyCode.SUCCEEDED:
            raise refusal(code)  # what follows has no meaning, and some servers leave it out
        _, kind = yield from self._reader.exactly(2)
        found = yield from _read_address(self._reader, kind)
        if found is None:
            raise RemoteProtocolError(f"a reply with an address of unknown type: {kind:#04x}")
        host, port = found
        if isinstance(host, bytes):
            host = host.decode("utf-8", "backslashreplace")
        self.bound = Address(host, port)

    def _read_socks4_reply(self) -> Script:
        version, code = yield from self._reader.exactly(2)
        if version != 0:
            raise RemoteProtocolError(
                f"an answer that begins with {version:#04x}, which looks {_looks_like(version)}, "
                "not SOCKS4"
            )
        if code != Socks4Code.GRANTED:
            raise refusal(code, Socks4Code)
        port = int.from_bytes((yield from self._reader.exactly(2)), "big")
        self.bound = Address(str(IPv4Address((yield from self._reader.exactly(4)))), port)
