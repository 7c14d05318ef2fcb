"""What a SOCKS server answers: the codes, their words and their exceptions, in one table.

A client reads the table from code to exception (``refusal``), a server from exception to code
(``reply_for``).  Every refusal of a connection is an ``OSError`` as well as a ``Refused``, so that
a program may catch what it already knows how to handle.
"""

from __future__ import annotations

import enum
import errno
from typing import ClassVar

from attrs import field, frozen

from ptipc.core.dialects import PT1, PT2_0, Dialect, Row
from ptipc.core.errors import ConfigError, Refused

__all__ = [
    "REPLIES",
    "AddressUnsupported",
    "ArgsRefused",
    "NetworkUnreachable",
    "Reply",
    "ReplyCode",
    "RequestForbidden",
    "RequestRefused",
    "Socks4Code",
    "TargetRefused",
    "TargetTimedOut",
    "TargetUnreachable",
    "failure",
    "refusal",
    "reply_for",
]


class ReplyCode(enum.IntEnum):
    """The second octet of a SOCKS5 reply.

    Source: RFC 1928 section 6; PT 2.0 section 3.3.4 (0x10 to 0x13); Tor's proposal 304 and
    socks-extensions (0xF0 to 0xF7).
    """

    SUCCEEDED = 0x00
    GENERAL_FAILURE = 0x01
    NOT_ALLOWED = 0x02
    NETWORK_UNREACHABLE = 0x03
    HOST_UNREACHABLE = 0x04
    CONNECTION_REFUSED = 0x05
    TTL_EXPIRED = 0x06
    COMMAND_NOT_SUPPORTED = 0x07
    ADDRESS_NOT_SUPPORTED = 0x08
    ARGS_TOO_LARGE = 0x10
    ARGS_TIMEOUT = 0x11
    ARGS_NOT_JSON = 0x12
    ARGS_INVALID = 0x13
    ONION_NOT_FOUND = 0xF0
    ONION_INVALID = 0xF1
    ONION_INTRODUCTION_FAILED = 0xF2
    ONION_RENDEZVOUS_FAILED = 0xF3
    ONION_AUTH_MISSING = 0xF4
    ONION_AUTH_WRONG = 0xF5
    ONION_ADDRESS_INVALID = 0xF6
    ONION_INTRODUCTION_TIMEOUT = 0xF7


class Socks4Code(enum.IntEnum):
    """The second octet of a SOCKS4 reply."""

    GRANTED = 0x5A
    FAILED = 0x5B
    NO_IDENTD = 0x5C
    USER_MISMATCH = 0x5D


class RequestRefused(Refused, OSError):
    """A server would not or could not connect us."""

    number: ClassVar[int | None] = None
    """The ``errno`` of such an error; None: no number fits."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text, code)
        self.errno = self.number


class RequestForbidden(RequestRefused, PermissionError):
    """A server's rules do not let us connect, or it does not know us."""

    number = errno.EACCES


class NetworkUnreachable(RequestRefused):
    """There is no way to the network of the target."""

    number = errno.ENETUNREACH


class TargetUnreachable(RequestRefused):
    """There is no way to the target."""

    number = errno.EHOSTUNREACH


class TargetRefused(RequestRefused, ConnectionRefusedError):
    """The target refused the connection."""

    number = errno.ECONNREFUSED


class TargetTimedOut(RequestRefused, TimeoutError):
    """The target did not answer, or our args did not arrive, in time."""

    number = errno.ETIMEDOUT


class AddressUnsupported(RequestRefused):
    """The server cannot connect to this type of address."""

    number = errno.EAFNOSUPPORT


class ArgsRefused(RequestRefused, ValueError):
    """A transport refused the per-connection args."""


@frozen
class Reply(Row):
    """One reason for a refusal."""

    code: ReplyCode | Socks4Code = field(kw_only=False)
    text: str = field(kw_only=False)
    """What a person is told."""

    error: type[RequestRefused] = field(default=RequestRefused, kw_only=False)
    """What a client raises."""

    errnos: tuple[int, ...] = field(default=(), kw_only=True)
    """The error numbers that stand for the reason."""

    kinds: tuple[type[Exception], ...] = field(default=(), kw_only=True)
    """The exceptions that stand for the reason."""

    sent: bool = field(default=True, kw_only=True)
    """Whether a transport may answer with it."""


# Which errors become which code is what obfs4proxy does.
REPLIES: tuple[Reply, ...] = (
    Reply(ReplyCode.GENERAL_FAILURE, "the server failed, without saying why"),
    Reply(
        ReplyCode.NOT_ALLOWED,
        "the server's rules do not allow the connection",
        RequestForbidden,
        errnos=(errno.EACCES,),
        kinds=(PermissionError,),
    ),
    Reply(
        ReplyCode.NETWORK_UNREACHABLE,
        "the target's network cannot be reached",
        NetworkUnreachable,
        errnos=(errno.ENETUNREACH,),
    ),
    Reply(
        ReplyCode.HOST_UNREACHABLE,
        "the target cannot be reached",
        TargetUnreachable,
        errnos=(errno.EHOSTUNREACH,),
    ),
    Reply(
        ReplyCode.CONNECTION_REFUSED,
        "the target refused the connection",
        TargetRefused,
        errnos=(errno.ECONNREFUSED,),
        kinds=(ConnectionRefusedError, ConnectionResetError),
    ),
    Reply(
        ReplyCode.TTL_EXPIRED,
        "the target did not answer in time",
        TargetTimedOut,
        errnos=(errno.ETIMEDOUT,),
        kinds=(TimeoutError,),
    ),
    Reply(ReplyCode.COMMAND_NOT_SUPPORTED, "the server cannot do what it was asked to do"),
    Reply(
        ReplyCode.ADDRESS_NOT_SUPPORTED,
        "the server cannot connect to this type of address",
        AddressUnsupported,
        errnos=(errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL),
    ),
    Reply(ReplyCode.ARGS_TOO_LARGE, "the args are too large", ArgsRefused, since=PT2_0),
    Reply(
        ReplyCode.ARGS_TIMEOUT,
        "the args did not arrive in time",
        TargetTimedOut,
        since=PT2_0,
    ),
    Reply(ReplyCode.ARGS_NOT_JSON, "the args are not JSON", ArgsRefused, since=PT2_0),
    Reply(
        ReplyCode.ARGS_INVALID,
        "the transport cannot use the args: one is missing or wrong",
        ArgsRefused,
        kinds=(ValueError, ConfigError),
        since=PT2_0,
    ),
    # tor answers so on request only (proposal 304), and no host has a way to ask a transport.
    Reply(
        ReplyCode.ONION_NOT_FOUND,
        "the onion service has no descriptor",
        TargetUnreachable,
        sent=False,
    ),
    Reply(
        ReplyCode.ONION_INVALID,
        "the onion service's descriptor is damaged",
        TargetUnreachable,
        sent=False,
    ),
    Reply(
        ReplyCode.ONION_INTRODUCTION_FAILED,
        "no introduction point of the onion service let us in",
        TargetUnreachable,
        sent=False,
    ),
    Reply(
        ReplyCode.ONION_RENDEZVOUS_FAILED,
        "the onion service did not come to the rendezvous",
        TargetUnreachable,
        sent=False,
    ),
    Reply(
        ReplyCode.ONION_AUTH_MISSING,
        "the onion service wants a client key",
        RequestForbidden,
        sent=False,
    ),
    Reply(
        ReplyCode.ONION_AUTH_WRONG,
        "the onion service does not take our client key",
        RequestForbidden,
        sent=False,
    ),
    Reply(ReplyCode.ONION_ADDRESS_INVALID, "not an onion address", sent=False),
    Reply(
        ReplyCode.ONION_INTRODUCTION_TIMEOUT,
        "the introduction to the onion service took too long",
        TargetTimedOut,
        sent=False,
    ),
    Reply(Socks4Code.FAILED, "the server refused or failed", sent=False),
    Reply(
        Socks4Code.NO_IDENTD,
        "the server cannot reach an identd here",
        RequestForbidden,
        sent=False,
    ),
    Reply(
        Socks4Code.USER_MISMATCH,
        "our identd names another user",
        RequestForbidden,
        sent=False,
    ),
)
"""Every reason for a refusal that has a code."""


def refusal(code: int, codes: type[ReplyCode] | type[Socks4Code] = ReplyCode) -> RequestRefused:
    """The exception for a reply code, known or not, of SOCKS5 or of SOCKS4."""
    for row in REPLIES:
        if row.code == code and isinstance(row.code, codes):
            return row.error(f"{row.text} (reply {code:#04x})", code)
    return RequestRefused(f"a refusal for an unknown reason (reply {code:#04x})", code)


def reply_for(error: BaseException, dialect: Dialect = PT1) -> ReplyCode:
    """The SOCKS5 code that tells a client best why a connection failed.

    ``error`` is what the attempt raised: an ``OSError``, a ``TimeoutError``, another server's
    ``Refused``, or a ``ValueError`` or ``ConfigError`` about the args, for which only the editions
    with JSON args have a code.  Whatever the table does not know is a general failure.
    """
    rows = [row for row in REPLIES if row.sent and row.applies(dialect)]
    code = error.code if isinstance(error, Refused) else None
    number = error.errno if isinstance(error, OSError) else None
    # A failed TLS handshake is an OSError and a ValueError, but says nothing about the args.
    system = isinstance(error, OSError)
    found = (
        *(row for row in rows if row.code == code),
        *(row for row in rows if number in row.errnos),
        *(
            row
            for row in rows
            if any(
                isinstance(error, kind) for kind in row.kinds if issubclass(kind, OSError) == system
            )
        ),
    )
    return ReplyCode(found[0].code) if found else ReplyCode.GENERAL_FAILURE


def failure(code: ReplyCode) -> bytes:
    """A SOCKS5 reply that refuses; the bound address that it has to have is 0.0.0.0:0."""
    return bytes((5, code, 0, 1)) + bytes(6)
