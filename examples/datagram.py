"""A transport for datagrams, without any stream: each is masked by itself.

What it teaches: ``Capability.DATAGRAM``; ``dial_datagrams`` and ``listen_datagrams`` in place of
``dial`` and ``listen``; options, which are all that a client is told in the modes for datagrams.
Hosts launch it in the modes transparent-UDP and STUN; in the others it has to say that it carries
no streams.

A datagram goes out with eight octets in front, which tell whether it is whole and by one of us, and
from which the mask for the rest is made.  Equal datagrams look equal: this is a light disguise.
"""

from __future__ import annotations

import secrets
from hashlib import blake2s, shake_128

from attrs import field, frozen

from ptipc.aio import Capability, DatagramListener, Datagrams, Network, run
from ptipc.core.codecs import Address
from ptipc.core.escapes import Args

TAG = 8


def tag(key: bytes, data: bytes) -> bytes:
    return blake2s(data, key=key, digest_size=TAG).digest()


def masked(key: bytes, tag: bytes, data: bytes) -> bytes:
    """The data under a mask; the same again takes it off."""
    mask = shake_128(key + tag).digest(len(data))
    return bytes(a ^ b for a, b in zip(data, mask, strict=True))


class Datagram:
    """The transport."""

    name = "datagram"
    version = "1.0"
    capabilities = Capability.DATAGRAM

    def dialer(self, args: Args, network: Network) -> Dialer:
        if "key" not in args:
            raise ValueError("the option key is missing")
        return Dialer(read_key(args), network)

    def listener(self, options: Args, network: Network) -> Listener:
        return Listener(read_key(options) if "key" in options else secrets.token_bytes(16), network)


def read_key(args: Args) -> bytes:
    """The key, which an operator may choose.  Raises ValueError."""
    try:
        key = bytes.fromhex(args["key"])
    except (TypeError, ValueError):
        raise ValueError("the option key is not hexadecimal") from None
    if len(key) != 16:
        raise ValueError(f"a key of {len(key)} octets instead of 16")
    return key


@frozen
class Dialer:
    _key: bytes = field(repr=False)
    _network: Network

    async def dial_datagrams(self, target: Address) -> Datagrams:
        return Masked(self._key, await self._network.datagrams(target))


@frozen
class Listener:
    _key: bytes = field(repr=False)
    _network: Network

    @property
    def args(self) -> Args:
        return Args({"key": self._key.hex()})

    async def listen_datagrams(self, address: Address) -> DatagramListener:
        return Acceptor(self._key, await self._network.listen_datagrams(address))


@frozen
class Acceptor:
    _key: bytes = field(repr=False)
    _listener: DatagramListener

    @property
    def address(self) -> Address:
        return self._listener.address

    async def accept(self) -> Datagrams:
        return Masked(self._key, await self._listener.accept())

    async def aclose(self) -> None:
        await self._listener.aclose()


@frozen
class Masked:
    """A conversation with one peer."""

    _key: bytes = field(repr=False)
    _inner: Datagrams

    @property
    def peer(self) -> Address | None:
        return self._inner.peer

    async def send(self, data: bytes) -> None:
        ours = tag(self._key, data)
        await self._inner.send(ours + masked(self._key, ours, data))

    async def receive(self) -> bytes | None:
        while (datagram := await self._inner.receive()) is not None:
            theirs = datagram[:TAG]
            data = masked(self._key, theirs, datagram[TAG:])
            if secrets.compare_digest(theirs, tag(self._key, data)):
                return data
            # Damaged, or by somebody else: lost, as datagrams may be.
        return None

    async def aclose(self) -> None:
        await self._inner.aclose()


if __name__ == "__main__":
    run(Datagram())
