"""How per-connection args, or a user's name and password, travel in the authentication of SOCKS.

Both directions of a method stand in one class.  A new method is a class with a code, ``serve`` and
``request``; it is then given to ``SocksResponder`` or ``SocksInitiator``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NoReturn, TypeAlias

from attrs import field, frozen

from ptipc.core.dialects import Dialect
from ptipc.core.errors import LocalProtocolError, RemoteProtocolError
from ptipc.core.escapes import ARGS, JSON_ARGS, NO_ARGS, Args
from ptipc.core.handshake import HandshakeTimeout, Reader, Script, Steps
from ptipc.core.socksreplies import (
    ArgsRefused,
    ReplyCode,
    RequestForbidden,
    RequestRefused,
    failure,
)

__all__ = [
    "AuthMethod",
    "Credentials",
    "JsonBlock",
    "NoAuth",
    "Send",
    "UserPass",
    "accepted_methods",
    "method_for",
]

Send: TypeAlias = Callable[[bytes], None]
"""Queues octets for the peer."""

_FIELD = 255  # RFC 1929, 2: the length of a field is one octet


class AuthMethod(ABC):
    """One method of SOCKS5 authentication (RFC 1928 section 3), both ends."""

    code: int
    """The octet that names the method."""

    optional = False
    """Whether an initiator offers to go without (method 0x00) as well."""

    @abstractmethod
    def serve(self, reader: Reader, send: Send) -> Steps[Args]:
        """The responder's part, after the method was chosen; returns the args that came.

        Raises RemoteProtocolError for what the method does not allow, its refusal queued.
        """

    @abstractmethod
    def request(self, args: Args, reader: Reader, send: Send) -> Script:
        """The initiator's part, after the method was chosen.

        Raises LocalProtocolError, before anything is queued, if the method cannot carry the args;
        Refused or RemoteProtocolError if the peer does not take them.
        """

    def user_id(self, args: Args) -> bytes:
        """What an initiator says in the user id of SOCKS4, which has no methods.

        Raises LocalProtocolError if the method has nothing to say there.
        """
        raise LocalProtocolError(f"method {self.code:#04x} does not exist in SOCKS4")


@frozen
class NoAuth(AuthMethod):
    """No authentication, and so no args (RFC 1928 section 3)."""

    code = 0x00

    def serve(self, reader: Reader, send: Send) -> Steps[Args]:
        """Nothing is said."""
        yield from ()
        return NO_ARGS

    def request(self, args: Args, reader: Reader, send: Send) -> Script:
        """Nothing is said, so there must be nothing to say."""
        self.user_id(args)
        yield from ()

    def user_id(self, args: Args) -> bytes:
        """An empty one."""
        if args:
            raise LocalProtocolError(f"method 0x00 cannot carry the args {args!r}")
        return b""


@frozen
class UserPass(AuthMethod):
    """Args as the user name and password of RFC 1929 (PT 1 section 3.5).

    ``lenient``: whether fields of length 0, which RFC 1929 does not allow and goptlib refuses, are
    taken for empty text.
    """

    code = 0x02

    lenient: bool = True

    def serve(self, reader: Reader, send: Send) -> Steps[Args]:
        """Read both fields, then judge the text in them."""
        name, secret = yield from _read_fields(reader, send)
        if not (self.lenient or (name and secret)):
            _deny(send, "a user name or password of length 0, which RFC 1929 does not allow")
        # C45: one NUL says that all fitted in the name.  A cut may fall within an escape or a
        # character, so the text is put together before it is read.
        text = name if secret == b"\0" else name + secret
        try:
            args = ARGS.parse(text.decode("utf-8", "surrogateescape"))
        except ValueError as error:
            _deny(send, f"args of {len(text)} octets that cannot be read: {error}")
        send(b"\1\0")
        return args

    def request(self, args: Args, reader: Reader, send: Send) -> Script:
        """Fill the user name, then the password, which is one NUL if nothing is left for it."""
        text = _args_text(args)
        if not text:
            raise LocalProtocolError("method 0x02 without args: RFC 1929 has no empty user name")
        if len(text) > 2 * _FIELD:
            raise LocalProtocolError(
                f"args of {len(text)} octets are over the {2 * _FIELD} that fit in a SOCKS5 user "
                "name and password; a SOCKS4 user id or method 0x09 takes more"
            )
        # A rest that is one NUL would be lost, but the text of args holds none.
        name, secret = text[:_FIELD], text[_FIELD:] or b"\0"
        yield from _send_fields(name, secret, reader, send, ArgsRefused, "the args")

    def user_id(self, args: Args) -> bytes:
        """The text of the args."""
        return _args_text(args)


@frozen
class JsonBlock(AuthMethod):
    """Args as a JSON object behind its length (PT 2.0 section 3.3.4).

    ``code`` is 0x09, or 0x80 for programs of the time before that number was assigned (C50).
    ``limit`` is how many octets of text are taken or sent (C51).  There is no acknowledgement: a
    refusal is an early reply to the request that has not yet been made (C48).
    """

    code: int = 0x09
    limit: int = 65536

    def serve(self, reader: Reader, send: Send) -> Steps[Args]:
        """Read the length, judge it, read the text, judge that."""
        try:
            length = int.from_bytes((yield from reader.exactly(4)), "big")
            if length > self.limit:
                send(failure(ReplyCode.ARGS_TOO_LARGE))
                raise RemoteProtocolError(
                    f"args of {length} octets are over our limit of {self.limit}"
                )
            text = yield from reader.exactly(length)
        except HandshakeTimeout:
            send(failure(ReplyCode.ARGS_TIMEOUT))
            raise
        try:
            return JSON_ARGS.parse(text.decode("utf-8"))
        except ValueError as error:
            send(failure(ReplyCode.ARGS_NOT_JSON))
            raise RemoteProtocolError(
                f"args of {length} octets that are not a JSON object: {error}"
            ) from None

    def request(self, args: Args, reader: Reader, send: Send) -> Script:
        """Send the length and the text, and do not wait."""
        try:
            text = JSON_ARGS.emit(args).encode("utf-8")
        except ValueError as error:
            raise LocalProtocolError(str(error)) from None
        if len(text) > self.limit:
            raise LocalProtocolError(
                f"args of {len(text)} octets are over the limit of {self.limit}"
            )
        send(len(text).to_bytes(4, "big") + text)
        yield from ()


@frozen
class Credentials(AuthMethod):
    """A user's name and password as RFC 1929 means them, octet for octet.

    This is for an upstream proxy, never for args.  Text stands for its UTF-8 octets, and
    ``surrogateescape`` for what is not UTF-8.  RFC 1929 has no empty fields, but proxies that want
    a name alone exist, so an empty text is sent as a field of length 0.

    Raises LocalProtocolError if a field is longer than 255 octets.
    """

    code = 0x02
    optional = True  # as curl and golang.org/x/net/proxy do: not every proxy asks its users

    user: str
    password: str = field(default="", repr=False)

    def __attrs_post_init__(self) -> None:
        for what, text in (("user name", self.user), ("password", self.password)):
            length = len(_octets(text, what))
            if length > _FIELD:
                raise LocalProtocolError(
                    f"a {what} of {length} octets is over the {_FIELD} of RFC 1929"
                )

    def serve(self, reader: Reader, send: Send) -> Steps[Args]:
        """Let in who says the same name and password."""
        heard = yield from _read_fields(reader, send)
        expected = self._fields()
        # Both are compared whatever the first says, so that time tells nothing.
        from hmac import compare_digest  # slow to import, and no transport asks for passwords

        same = [compare_digest(*pair) for pair in zip(heard, expected, strict=True)]
        if not all(same):
            _deny(send, "a wrong user name or password")
        send(b"\1\0")
        return NO_ARGS

    def request(self, args: Args, reader: Reader, send: Send) -> Script:
        """Say both."""
        self._refuse_args(args)
        name, secret = self._fields()
        text = "our user name and password"
        yield from _send_fields(name, secret, reader, send, RequestForbidden, text)

    def user_id(self, args: Args) -> bytes:
        """The user's name."""
        self._refuse_args(args)
        if self.password:
            raise LocalProtocolError("SOCKS4 has no place for a password")
        return self._fields()[0]

    def _fields(self) -> tuple[bytes, bytes]:
        return _octets(self.user, "user name"), _octets(self.password, "password")

    @staticmethod
    def _refuse_args(args: Args) -> None:
        if args:
            raise LocalProtocolError(f"a user's name and password cannot carry the args {args!r}")


# --- the choice -----------------------------------------------------------------------------------


def accepted_methods(dialect: Dialect, *, draft: bool = False) -> tuple[AuthMethod, ...]:
    """What a transport accepts, the preferred method first, in whatever order they are offered.

    Methods that carry args come before 0x00: tor and arti offer it as well, and taking it would
    lose the args without a word.  ``draft``: whether 0x80 is accepted, too (C47, C50).
    """
    codes = [*dialect.args_methods]
    if draft:
        codes.insert(codes.index(UserPass.code), 0x80)
    if dialect.json_auth is not None:
        codes.insert(0, dialect.json_auth)
    return (
        *(
            UserPass() if code == UserPass.code else JsonBlock(code)
            for code in dict.fromkeys(codes)
        ),
        NoAuth(),
    )


def method_for(dialect: Dialect, args: Args) -> AuthMethod:
    """What a host uses: one method, so that a transport cannot choose to lose the args (C47)."""
    if not args:
        return NoAuth()
    return UserPass() if dialect.json_auth is None else JsonBlock(dialect.json_auth)


# --- RFC 1929 -------------------------------------------------------------------------------------


def _read_fields(reader: Reader, send: Send) -> Steps[tuple[bytes, bytes]]:
    version, length = yield from reader.exactly(2)
    if version != 1:
        _deny(send, f"not the version 0x01 of RFC 1929: {version:#04x}")
    name = yield from reader.exactly(length)
    secret = yield from reader.exactly((yield from reader.exactly(1))[0])
    return name, secret


def _send_fields(
    name: bytes,
    secret: bytes,
    reader: Reader,
    send: Send,
    refused: type[RequestRefused],
    what: str,
) -> Script:
    send(bytes((1, len(name))) + name + bytes((len(secret),)) + secret)
    version, status = yield from reader.exactly(2)
    if version != 1:
        raise RemoteProtocolError(f"an answer of version {version:#04x}, not 0x01 of RFC 1929")
    if status:
        raise refused(f"the server refused {what} (status {status:#04x})", status)


def _deny(send: Send, text: str) -> NoReturn:
    send(b"\1\1")
    raise RemoteProtocolError(text) from None


def _args_text(args: Args) -> bytes:
    try:
        return ARGS.emit(args).encode("utf-8", "surrogateescape")
    except ValueError as error:
        raise LocalProtocolError(str(error)) from None


def _octets(text: str, what: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise LocalProtocolError(f"a {what} that is not Unicode text") from None
