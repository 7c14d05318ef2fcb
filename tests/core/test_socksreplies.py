from __future__ import annotations

import copy
import errno
import pickle

import pytest

from ptipc.core.dialects import DIALECTS, PT1, PT2_2
from ptipc.core.errors import ConfigError, Refused
from ptipc.core.socksreplies import (
    REPLIES,
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


class HandshakeFailed(OSError, ValueError):
    """As ``ssl.SSLCertVerificationError`` is."""


def test_every_code_that_refuses_has_one_row() -> None:
    granted = {ReplyCode.SUCCEEDED, Socks4Code.GRANTED}
    assert sorted(row.code for row in REPLIES) == sorted({*ReplyCode, *Socks4Code} - granted)


def test_every_row_has_words_of_its_own() -> None:
    assert len({row.text for row in REPLIES}) == len(REPLIES)


@pytest.mark.parametrize("row", REPLIES, ids=lambda row: row.code.name)
def test_a_refusal_is_what_its_row_says(row: Reply) -> None:
    """It is a Refused and an OSError, and shows words and code."""
    error = refusal(row.code, type(row.code))
    assert type(error) is row.error
    assert isinstance(error, Refused)
    assert isinstance(error, OSError)
    assert str(error) == f"{row.text} (reply {row.code:#04x})"
    assert error.code == row.code


@pytest.mark.parametrize(
    ("code", "kind", "builtin", "number"),
    [
        (ReplyCode.GENERAL_FAILURE, RequestRefused, OSError, None),
        (ReplyCode.NOT_ALLOWED, RequestForbidden, PermissionError, errno.EACCES),
        (ReplyCode.NETWORK_UNREACHABLE, NetworkUnreachable, OSError, errno.ENETUNREACH),
        (ReplyCode.HOST_UNREACHABLE, TargetUnreachable, OSError, errno.EHOSTUNREACH),
        (ReplyCode.CONNECTION_REFUSED, TargetRefused, ConnectionRefusedError, errno.ECONNREFUSED),
        (ReplyCode.TTL_EXPIRED, TargetTimedOut, TimeoutError, errno.ETIMEDOUT),
        (ReplyCode.ARGS_TIMEOUT, TargetTimedOut, TimeoutError, errno.ETIMEDOUT),
        (ReplyCode.ARGS_INVALID, ArgsRefused, ValueError, None),
        (ReplyCode.ONION_AUTH_WRONG, RequestForbidden, PermissionError, errno.EACCES),
    ],
)
def test_a_refusal_can_be_caught_as_what_it_is(
    code: ReplyCode, kind: type[RequestRefused], builtin: type[Exception], number: int | None
) -> None:
    error = refusal(code)
    assert type(error) is kind
    assert isinstance(error, builtin)
    assert error.errno == number


@pytest.mark.parametrize("code", [0x09, 0x42, 0x5A, 0x5B, 0xEF, 0xFF])
def test_an_unknown_code_is_a_refusal_all_the_same(code: int) -> None:
    """The codes of SOCKS4 mean nothing in SOCKS5."""
    error = refusal(code)
    assert type(error) is RequestRefused
    assert f"{code:#04x}" in str(error)


def test_the_codes_of_socks5_mean_nothing_in_socks4() -> None:
    assert type(refusal(ReplyCode.CONNECTION_REFUSED, Socks4Code)) is RequestRefused


@pytest.mark.parametrize("row", REPLIES, ids=lambda row: row.code.name)
def test_a_refusal_can_be_copied_and_pickled(row: Reply) -> None:
    error = refusal(row.code, type(row.code))
    for other in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(other) is type(error)
        assert (str(other), other.code, other.errno) == (str(error), error.code, error.errno)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConnectionRefusedError(), ReplyCode.CONNECTION_REFUSED),
        (ConnectionResetError(), ReplyCode.CONNECTION_REFUSED),
        (PermissionError(), ReplyCode.NOT_ALLOWED),
        (TimeoutError(), ReplyCode.TTL_EXPIRED),
        (OSError(errno.ECONNREFUSED, "x"), ReplyCode.CONNECTION_REFUSED),
        (OSError(errno.ETIMEDOUT, "x"), ReplyCode.TTL_EXPIRED),
        (OSError(errno.EACCES, "x"), ReplyCode.NOT_ALLOWED),
        (OSError(errno.EPERM, "x"), ReplyCode.NOT_ALLOWED),
        (OSError(errno.ENETUNREACH, "x"), ReplyCode.NETWORK_UNREACHABLE),
        (OSError(errno.EHOSTUNREACH, "x"), ReplyCode.HOST_UNREACHABLE),
        (OSError(errno.EAFNOSUPPORT, "x"), ReplyCode.ADDRESS_NOT_SUPPORTED),
        (OSError(errno.EADDRNOTAVAIL, "x"), ReplyCode.ADDRESS_NOT_SUPPORTED),
        (OSError(errno.EMFILE, "x"), ReplyCode.GENERAL_FAILURE),
        (OSError("two attempts failed"), ReplyCode.GENERAL_FAILURE),
        (HandshakeFailed(1, "x"), ReplyCode.GENERAL_FAILURE),
        (RuntimeError(), ReplyCode.GENERAL_FAILURE),
        (KeyboardInterrupt(), ReplyCode.GENERAL_FAILURE),
        (Refused("x", 0), ReplyCode.GENERAL_FAILURE),
        (Refused("x", 5), ReplyCode.CONNECTION_REFUSED),
        (RequestForbidden("x", 403), ReplyCode.NOT_ALLOWED),
        (TargetUnreachable("x", 502), ReplyCode.HOST_UNREACHABLE),
        (TargetTimedOut("x", 504), ReplyCode.TTL_EXPIRED),
        (refusal(Socks4Code.FAILED, Socks4Code), ReplyCode.GENERAL_FAILURE),
        (refusal(Socks4Code.USER_MISMATCH, Socks4Code), ReplyCode.NOT_ALLOWED),
        (refusal(0xFF), ReplyCode.GENERAL_FAILURE),
        (refusal(ReplyCode.COMMAND_NOT_SUPPORTED), ReplyCode.COMMAND_NOT_SUPPORTED),
        (refusal(ReplyCode.ONION_NOT_FOUND), ReplyCode.HOST_UNREACHABLE),
        (refusal(ReplyCode.ONION_INTRODUCTION_TIMEOUT), ReplyCode.TTL_EXPIRED),
    ],
    ids=repr,
)
def test_what_went_wrong_has_the_same_code_in_every_edition(
    error: BaseException, code: ReplyCode
) -> None:
    for dialect in DIALECTS:
        assert reply_for(error, dialect) is code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("no cert"), ReplyCode.ARGS_INVALID),
        (UnicodeError("x"), ReplyCode.ARGS_INVALID),
        (ConfigError.__new__(ConfigError), ReplyCode.ARGS_INVALID),
        (refusal(ReplyCode.ARGS_TOO_LARGE), ReplyCode.ARGS_TOO_LARGE),
        (refusal(ReplyCode.ARGS_NOT_JSON), ReplyCode.ARGS_NOT_JSON),
    ],
    ids=repr,
)
def test_only_editions_with_json_have_codes_for_args(error: Exception, code: ReplyCode) -> None:
    assert reply_for(error, PT2_2) is code
    assert reply_for(error, PT1) is reply_for(error) is ReplyCode.GENERAL_FAILURE


def test_args_that_came_late_are_late_in_every_edition() -> None:
    error = refusal(ReplyCode.ARGS_TIMEOUT)
    assert reply_for(error, PT2_2) is ReplyCode.ARGS_TIMEOUT
    assert reply_for(error, PT1) is ReplyCode.TTL_EXPIRED


@pytest.mark.parametrize("row", [row for row in REPLIES if row.sent], ids=lambda row: row.code.name)
def test_a_code_survives_the_way_through_two_servers(row: Reply) -> None:
    assert reply_for(refusal(row.code), PT2_2) is row.code


def test_a_failure_has_an_address_that_says_nothing() -> None:
    assert failure(ReplyCode.ARGS_TOO_LARGE).hex(" ") == "05 10 00 01 00 00 00 00 00 00"
