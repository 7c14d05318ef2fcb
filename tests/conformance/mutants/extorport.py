"""The Extended ORPort, as a server uses it."""

import hashlib
import hmac
import os
import socket
from pathlib import Path

from breaking import broken
from streams import exactly

HEADER = b"! Extended ORPort Auth Cookie !\n"
THEIRS = b"ExtORPort authentication server-to-client hash"
OURS = b"ExtORPort authentication client-to-server hash"
DONE, ADDRESS, TRANSPORT, OKAY, DENY = 0, 1, 2, 0x1000, 0x1001

kept: list[bytes] = []


def secret(path: str) -> bytes:
    if broken("cookie-read-once") and kept:
        return kept[0]
    data = Path(path).read_bytes()
    good = len(data) == 64 and data.startswith(HEADER)
    if not good and not broken("cookie-unchecked"):
        raise OSError("not a cookie file")
    kept.append(data[32:])
    return data[32:]


def connect(
    where: tuple[str, int], cookie: str, transport: str, client: str, early: socket.socket
) -> socket.socket:
    """A connection that the host has said OKAY to.  Raises OSError, and EOFError if it ends."""
    key = secret(cookie)
    stream = socket.create_connection(where, 10)
    try:
        authenticate(stream, key)
        name = transport.upper() if broken("extorport-wrong-transport") else transport
        if not broken("extorport-no-transport"):
            command(stream, TRANSPORT, name.encode())
        if broken("extorport-address-only"):
            client = client.rpartition(":")[0]
        if not broken("extorport-no-address"):
            command(stream, ADDRESS, client.encode())
        if broken("extorport-own-command"):
            command(stream, 3, b"")
        command(stream, DONE, b"")
        if broken("extorport-does-not-wait"):
            stream.sendall(early.recv(4096))
        wait(stream)
    except BaseException:
        stream.close()
        raise
    return stream


def authenticate(stream: socket.socket, key: bytes) -> None:
    types = b""
    while not types.endswith(b"\0"):
        types += exactly(stream, 1)
    if 1 not in types and not broken("extorport-type-unoffered"):
        raise OSError("no way to prove anything")
    stream.sendall(types[:1] if broken("extorport-first-type") else b"\1")
    nonce = bytes(32) if broken("extorport-nonce") else os.urandom(32)
    stream.sendall(nonce)
    proof, theirs = exactly(stream, 32), exactly(stream, 32)
    right = hmac.digest(key, THEIRS + nonce + theirs, hashlib.sha256)
    if proof != right and not broken("extorport-hash-unchecked"):
        raise OSError("the host does not know the cookie")
    label = THEIRS if broken("extorport-hash") else OURS
    stream.sendall(hmac.digest(key, label + nonce + theirs, hashlib.sha256))
    if exactly(stream, 1) != b"\1" and not broken("extorport-status-unchecked"):
        raise OSError("the host does not believe us")


def command(stream: socket.socket, code: int, body: bytes) -> None:
    stream.sendall(code.to_bytes(2, "big") + len(body).to_bytes(2, "big") + body)


def wait(stream: socket.socket) -> None:
    while True:
        head = exactly(stream, 4)
        code, size = int.from_bytes(head[:2], "big"), int.from_bytes(head[2:], "big")
        if not broken("extorport-body-left"):
            exactly(stream, size)
        if code == DENY and not broken("extorport-deny-ignored"):
            raise OSError("the host does not want this client")
        if code in (OKAY, DENY):
            return
        if broken("extorport-unknown-fatal"):
            raise OSError("what is that?")
