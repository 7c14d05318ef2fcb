"""SOCKS5 for the port of a client, with args in RFC 1929 or in a JSON block (PT 2.0)."""

import contextlib
import errno
import json
import os
import socket
import threading
from collections.abc import Callable

from breaking import broken
from streams import exactly

PATIENCE = 12
LONGEST = 65536

Dial = Callable[[str, int], socket.socket]


class Refusal(Exception):
    """What is sent before the connection is closed."""

    def __init__(self, octets: bytes) -> None:
        self.octets = octets


def reply(code: int) -> bytes:
    octets = bytes((5, code, 0, 1)) + bytes(6)
    if broken("reply-short"):
        return octets[:4]
    if broken("reply-version"):
        return b"\0" + octets[1:]
    if broken("reply-bound-type"):
        return octets[:3] + b"\2" + bytes(6)
    if broken("reply-bound-ipv6"):
        return octets[:3] + b"\4" + bytes(6)
    return octets


def serve(stream: socket.socket, dial: Dial, json_too: bool) -> socket.socket | None:
    """What the client is to be connected with; None: it got its answer and that was it."""
    stream.settimeout(PATIENCE)
    try:
        greet(stream, json_too)
        host, port = request(stream)
        return connect(stream, dial, host, port)
    except Refusal as refusal:
        dismiss(stream, refusal.octets)
        return None


def dismiss(stream: socket.socket, octets: bytes) -> None:
    if not broken("refusal-silent"):
        stream.sendall(octets)
    if broken("refusal-open"):
        threading.Event().wait()
    stream.shutdown(socket.SHUT_WR)
    stream.settimeout(5)
    while stream.recv(4096):  # lest a reset overtakes the answer
        pass


def greet(stream: socket.socket, json_too: bool) -> None:
    if exactly(stream, 1) != b"\5" and not broken("any-first-octet"):
        raise Refusal(b"")
    methods = exactly(stream, exactly(stream, 1)[0])
    known = [9, 2, 0] if json_too else [2, 0]
    if broken("method-none-first"):
        known.reverse()
    if broken("method-draft"):
        known.append(0x80)
    if broken("method-userpass-only"):
        known.remove(0)
    method = next((each for each in known if each in methods), 255)
    if broken("method-not-offered") and method == 255:
        method = 0
    if method == 255:
        raise Refusal(b"\5\xff")
    stream.sendall(bytes((5, method)))
    if broken("pipelined-lost"):
        stream.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            stream.recv(4096)
        stream.settimeout(PATIENCE)
    if method == 2:
        take_args(stream)
    elif method == 9:
        take_json(stream)


def take_args(stream: socket.socket) -> None:
    if exactly(stream, 1) != b"\1":
        raise Refusal(b"\1\1")
    name = exactly(stream, exactly(stream, 1)[0])
    password = exactly(stream, exactly(stream, 1)[0])
    rest = b"" if password in (b"", b"\0") else password
    if broken("args-nul-kept"):
        rest = password
    if broken("args-user-only"):
        rest = b""
    good = are_args(name + rest) and not (broken("args-nul-kept") and b"\0" in rest)
    if broken("args-unread"):
        good = True
    if not good:
        raise Refusal(b"\5\1" if broken("args-status-version") else b"\1\1")
    stream.sendall(b"\1\0")


def are_args(data: bytes) -> bool:
    """Whether it is ``key=value`` with semicolons between, or nothing."""
    if not data:
        return not broken("args-empty-refused")
    key, part, escaped = b"", "key", False
    for octet in data:
        char = bytes([octet])
        if escaped:
            escaped = False
        elif char == b"\\" and not broken("args-no-escapes"):
            escaped = True
            continue
        elif char == b";":
            if part == "key":
                return False
            key, part = b"", "key"
            continue
        elif char == b"=":
            if part == "key" and not key:
                return False
            if part == "value" and broken("args-one-equals"):
                return False
            part = "value"
            continue
        if part == "key":
            key += char
    return part == "value" and not escaped


def take_json(stream: socket.socket) -> None:
    try:
        order = "little" if broken("json-little-endian") else "big"
        size = int.from_bytes(exactly(stream, 4), order)  # type: ignore[arg-type]
        if size > LONGEST and not broken("json-unlimited"):
            raise Refusal(reply(1 if broken("json-code-10") else 0x10))
        data = exactly(stream, size)
    except TimeoutError:
        raise Refusal(reply(1 if broken("json-code-11") else 0x11)) from None
    if broken("json-acknowledged"):
        stream.sendall(b"\1\0")
    try:
        found = json.loads(data.decode("utf-8"), parse_constant=lambda word: 1 // 0)
    except (ValueError, RecursionError, ArithmeticError):
        found = None
    if not isinstance(found, dict) and not broken("json-unread"):
        raise Refusal(reply(1 if broken("json-code-12") else 0x12))


def request(stream: socket.socket) -> tuple[str, int]:
    version, command, _, kind = exactly(stream, 4)
    if version != 5:
        raise Refusal(reply(1))
    if command != 1 and not broken("command-any"):
        raise Refusal(reply(1 if broken("command-code") else 7))
    if kind == 1:
        host = socket.inet_ntop(socket.AF_INET, exactly(stream, 4))
    elif kind == 4 and not broken("no-ipv6"):
        host = socket.inet_ntop(socket.AF_INET6, exactly(stream, 16))
    elif kind == 3 and not broken("no-names"):
        host = text(exactly(stream, exactly(stream, 1)[0]))
    elif broken("address-type-hangs"):
        exactly(stream, 1 << 20)
        raise EOFError
    else:
        raise Refusal(reply(1 if broken("address-type-code") else 8))
    order = "little" if broken("port-little-endian") else "big"
    return host, int.from_bytes(exactly(stream, 2), order)  # type: ignore[arg-type]


def text(name: bytes) -> str:
    try:
        found = name.decode("utf-8")
    except UnicodeDecodeError:
        raise Refusal(reply(1)) from None
    if not found or not found.isprintable():
        raise Refusal(reply(1))
    return found


CODES = {errno.ENETUNREACH: 3, errno.EHOSTUNREACH: 4, errno.ECONNREFUSED: 5, errno.ETIMEDOUT: 6}


def connect(stream: socket.socket, dial: Dial, host: str, port: int) -> socket.socket:
    if broken("grants-first"):
        stream.sendall(reply(0))
        return dial(host, port)
    try:
        remote = dial(host, port)
    except (OSError, EOFError, UnicodeError) as error:
        if broken("failure-silent"):
            raise Refusal(b"") from None
        if broken("failure-is-fatal"):
            os._exit(1)
        code = CODES.get(getattr(error, "errno", None) or 0, 1)
        raise Refusal(reply(1 if broken("failure-code") else code)) from None
    if broken("early-data-lost"):
        stream.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            stream.recv(4096)
    stream.sendall(reply(0))
    if broken("waits-for-client"):
        remote.sendall(exactly(stream, 1))
    return remote
