"""A transport whose octets look random, to whoever does not have the bridge line.

What it teaches: a key in the state directory, which the server publishes (``cert``) and the client
is given; args that are judged before any connection is made; a handshake of its own, which
``wrap_dialer`` and ``wrap_listener`` have done on each connection; octets that are changed after
it, by ``map_stream``.  It needs the package ``cryptography``.

Both ends make a key for this connection (X25519), and the client knows the server's lasting one.
Whoever does not know that one, too, cannot tell the first octets from chance, and never gets an
answer.  Then come records under ChaCha20-Poly1305, their lengths sealed as well.  What obfs4 does
and this does not: notice that a hello is played a second time, and disguise when and how much is
sent.  That a connection was cut is left to what is inside, which is TLS in tor's case.

Try it with ``ptipc demo --transport obfuscated -- python examples/obfuscated.py``.
"""

from __future__ import annotations

import logging
import os
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import partial

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ptipc.aio import (
    Dialer,
    Listener,
    Network,
    Stream,
    map_stream,
    receive_exactly,
    run,
    wrap_dialer,
    wrap_listener,
)
from ptipc.core.escapes import Args
from ptipc.osdep import State

KEY = 32  # octets of a key, of a public key, and of the salt
TAG = 16  # octets that sealing adds
HEAD = 4  # octets before the data of a record: how much data, and how much padding behind it
PIECE = 1 << 14  # octets of data in a record, at most
PADDING = 512  # octets of padding of a hello, and of what is sent at a time, at most

log = logging.getLogger(__name__)


class Obfuscated:
    """The transport; what it does with a connection is below."""

    name = "obfuscated"
    version = "1.0"

    def dialer(self, args: Args, network: Network) -> Dialer:
        return wrap_dialer(self, network, partial(client, public_key(args)))

    def listener(self, options: Args, network: Network) -> Listener:
        key = private_key(network.state)
        cert = urlsafe_b64encode(key.public_key().public_bytes_raw()).decode().rstrip("=")
        patience = 30 + secrets.randbelow(30)  # after how long tells nothing either
        args = Args({"cert": cert})
        return wrap_listener(self, network, partial(server, key), args, timeout=patience)


def public_key(args: Args) -> X25519PublicKey:
    """The server's key, as the client was told.  Raises ValueError."""
    if "cert" not in args:
        raise ValueError("the arg cert is missing")
    octets = urlsafe_b64decode(f"{args['cert']}=")
    if len(octets) != KEY:
        raise ValueError(f"a cert of {len(octets)} octets instead of {KEY}")
    return X25519PublicKey.from_public_bytes(octets)


def private_key(state: State | None) -> X25519PrivateKey:
    """The server's own key: made once, if there is a place to keep it."""
    octets = new_key() if state is None else state.kept("obfuscated.key", new_key)
    return X25519PrivateKey.from_private_bytes(octets)


def new_key() -> bytes:
    log.info("a new key was made, and with it a new cert for clients")
    return X25519PrivateKey.generate().private_bytes_raw()


# --- the handshake --------------------------------------------------------------------------------


async def client(theirs: X25519PublicKey, stream: Stream) -> Stream:
    """Say hello, hear the answer, which only the server of this key can give, and talk."""
    mine = X25519PrivateKey.generate()
    salt = os.urandom(KEY)
    await send_hello(stream, salt, derive(theirs.public_bytes_raw(), salt, b"hello"), mine)
    secret = mine.exchange(theirs)
    try:
        answer = await receive_hello(stream, derive(secret, salt, b"answer"))
    except (InvalidTag, ValueError):
        raise ConnectionAbortedError("whoever answered is not the server of this cert") from None
    return talk(stream, derive(secret + mine.exchange(answer), salt, b"records", 2 * KEY))


async def server(mine: X25519PrivateKey, stream: Stream) -> Stream:
    """Hear a hello that only they can have said who know our cert, answer it, and talk."""
    salt = await receive_exactly(stream, KEY)
    try:
        public = mine.public_key().public_bytes_raw()
        theirs = await receive_hello(stream, derive(public, salt, b"hello"))
        secret = mine.exchange(theirs)
    except (InvalidTag, ValueError):
        while await stream.receive():  # until they give up, or our time is over
            pass
        raise ConnectionAbortedError("somebody who does not know our cert") from None
    passing = X25519PrivateKey.generate()
    await send_hello(stream, b"", derive(secret, salt, b"answer"), passing)
    keys = derive(secret + passing.exchange(theirs), salt, b"records", 2 * KEY)
    return talk(stream, keys[KEY:] + keys[:KEY])


async def send_hello(stream: Stream, salt: bytes, key: bytes, mine: X25519PrivateKey) -> None:
    padding = os.urandom(secrets.randbelow(PADDING))
    said = mine.public_key().public_bytes_raw() + len(padding).to_bytes(2, "big")
    await stream.send(salt + Sealing(key).seal(said) + padding)


async def receive_hello(stream: Stream, key: bytes) -> X25519PublicKey:
    """The other end's key for this connection.  Raises InvalidTag."""
    said = Opening(key).open(await receive_exactly(stream, KEY + 2 + TAG))
    await receive_exactly(stream, int.from_bytes(said[KEY:], "big"))
    return X25519PublicKey.from_public_bytes(said[:KEY])


def derive(secret: bytes, salt: bytes, purpose: bytes, size: int = KEY) -> bytes:
    """A key for one purpose; each seals one message, or is counted on."""
    return HKDF(SHA256(), size, salt, b"ptipc obfuscated 1 " + purpose).derive(secret)


# --- the records ----------------------------------------------------------------------------------


def talk(stream: Stream, keys: bytes) -> Stream:
    return map_stream(stream, encode=Sealing(keys[:KEY]), decode=Opening(keys[KEY:]))


class Sealing:
    """One direction, at the end that sends."""

    def __init__(self, key: bytes) -> None:
        self._cipher = ChaCha20Poly1305(key)
        self._count = 0

    def seal(self, data: bytes) -> bytes:
        nonce = self._count.to_bytes(12, "big")
        self._count += 1
        return self._cipher.encrypt(nonce, data, None)

    def __call__(self, data: bytes) -> bytes:
        """The records that carry some data, with padding in the last of them."""
        sealed = []
        for start in range(0, len(data), PIECE):
            piece = data[start : start + PIECE]
            padding = secrets.randbelow(PADDING) if start + PIECE >= len(data) else 0
            head = len(piece).to_bytes(2, "big") + padding.to_bytes(2, "big")
            sealed += [self.seal(head), self.seal(piece + bytes(padding))]
        return b"".join(sealed)


class Opening:
    """One direction, at the end that receives."""

    def __init__(self, key: bytes) -> None:
        self._cipher = ChaCha20Poly1305(key)
        self._count = 0
        self._waiting = b""
        self._head: bytes | None = None

    def open(self, sealed: bytes) -> bytes:
        """Raises InvalidTag if it is not the next that was sealed under our key."""
        data = self._cipher.decrypt(self._count.to_bytes(12, "big"), sealed, None)
        self._count += 1
        return data

    def __call__(self, data: bytes) -> bytes:
        """The data of the records that are complete by now."""
        self._waiting += data
        opened = []
        while len(self._waiting) >= (wanted := self._size() + TAG):
            try:
                message = self.open(self._waiting[:wanted])
            except InvalidTag:
                raise ConnectionAbortedError("a record was tampered with") from None
            self._waiting = self._waiting[wanted:]
            if self._head is None:
                self._head = message
            else:
                opened.append(message[: int.from_bytes(self._head[:2], "big")])
                self._head = None
        return b"".join(opened)

    def _size(self) -> int:
        if self._head is None:
            return HEAD
        return int.from_bytes(self._head[:2], "big") + int.from_bytes(self._head[2:], "big")


if __name__ == "__main__":
    run(Obfuscated())
