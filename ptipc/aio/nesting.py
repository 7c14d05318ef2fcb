"""One transport inside another: a network that is made of a transport.

There are two ways to hand a connection to a transport.  "Give me a dialer" (``through``) lets it
connect as often as it likes; "give me a stream" (``one_shot``) lets it have one connection that is
there already.  ``Nested`` is a transport that consists of two, to any depth and on both sides.
Source: PT 3.0 Base section 4 (Go and Swift have both ways).
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from ptipc.aio.network import Dialer, Network, StreamListener
from ptipc.aio.streams import Stream
from ptipc.aio.transport import DatagramTransport, Listener, Transport, let_go
from ptipc.core.codecs import Address
from ptipc.core.escapes import Args
from ptipc.core.transports import (
    Capability,
    carried_inside,
    grants_early,
    nested_args,
    published_args,
)
from ptipc.osdep import State

if TYPE_CHECKING:
    from ptipc.aio.datagrams import DatagramListener, Datagrams

__all__ = ["Nested", "one_shot", "through"]


def through(
    network: Network, *, dialer: Dialer | None = None, listener: Listener | None = None
) -> Network:
    """A network that connects by a transport's dialer, and listens by a transport's listener.

    What is not given is left to ``network``.  Nothing that is given can be passed by: a dialer that
    knows no datagrams makes a network without datagrams.
    """
    return _Through(network, dialer, listener)


def one_shot(network: Network, stream: Stream) -> Network:
    """A network whose only connection is there already, whatever the target.

    To dial a second time raises OSError, and so do datagrams; to listen is left to ``network``.
    """
    return _Through(network, _OneShot(stream), None)


def _cannot(what: str) -> OSError:
    return OSError(errno.EOPNOTSUPP, f"the transport underneath has no {what}")


@frozen
class _Through:
    _network: Network
    _dialer: Dialer | None
    _listener: Listener | None

    @property
    def state(self) -> State | None:
        return self._network.state

    async def dial(self, target: Address) -> Stream:
        return await (self._dialer or self._network).dial(target)

    async def listen(self, address: Address) -> StreamListener:
        return await (self._listener or self._network).listen(address)

    async def datagrams(self, target: Address) -> Datagrams:
        if self._dialer is None:
            return await self._network.datagrams(target)
        return await _dial_datagrams(self._dialer, target)

    async def listen_datagrams(self, address: Address) -> DatagramListener:
        return await _listen_datagrams(self._listener or self._network, address)


async def _dial_datagrams(dialer: object, target: Address) -> Datagrams:
    dial = getattr(dialer, "dial_datagrams", None)
    if dial is None:
        raise _cannot("datagrams to dial")
    conversation: Datagrams = await dial(target)
    return conversation


async def _listen_datagrams(listener: object, address: Address) -> DatagramListener:
    listen = getattr(listener, "listen_datagrams", None)
    if listen is None:
        raise _cannot("datagrams to listen for")
    found: DatagramListener = await listen(address)
    return found


@define(eq=False)
class _OneShot:
    _stream: Stream | None

    async def dial(self, target: Address) -> Stream:
        if self._stream is None:
            raise OSError(errno.EISCONN, "there was one connection only, and it is in use")
        stream, self._stream = self._stream, None
        return stream


@frozen
class Nested:
    """A transport of two transports: what ``inner`` makes of the traffic goes through ``outer``.

    On the wire it looks like ``outer``.  An arg that begins with the name of one of the two and a
    dot is for that one only, without name and dot; every other is for both.  What a server
    publishes has the names in front.  Its dialers and listeners close those of both (``aclose``).
    """

    name: str
    outer: Transport | DatagramTransport
    inner: Transport | DatagramTransport
    version: str | None = None
    capabilities: Capability = field(init=False)
    grant_early: bool = field(init=False)

    def __attrs_post_init__(self) -> None:
        if self.outer.name == self.inner.name:
            raise ValueError(f"two transports with one name: {self.inner.name!r}")

    @capabilities.default
    def _both(self) -> Capability:
        return carried_inside(self.outer, self.inner)

    @grant_early.default
    def _either(self) -> bool:
        return grants_early(self.outer) or grants_early(self.inner)

    def dialer(self, args: Args, network: Network) -> _NestedDialer:
        outer: Any = self.outer.dialer(self._part(self.outer, args), network)
        inner = self.inner.dialer(self._part(self.inner, args), through(network, dialer=outer))
        return _NestedDialer(inner, outer)

    def listener(self, options: Args, network: Network) -> _NestedListener:
        outer: Any = self.outer.listener(self._part(self.outer, options), network)
        inner = self.inner.listener(
            self._part(self.inner, options), through(network, listener=outer)
        )
        published = {self.outer.name: outer.args, self.inner.name: inner.args}
        return _NestedListener(inner, outer, published_args(published))

    def _part(self, transport: object, args: Args) -> Args:
        """The args for one of the two."""
        one, other = self.outer.name, self.inner.name
        return nested_args(args, *((one, other) if transport is self.outer else (other, one)))


@frozen
class _NestedDialer:
    _inner: Any
    _outer: Any

    async def dial(self, target: Address) -> Stream:
        stream: Stream = await self._inner.dial(target)
        return stream

    async def dial_datagrams(self, target: Address) -> Datagrams:
        return await _dial_datagrams(self._inner, target)

    async def aclose(self) -> None:
        await _let_both_go(self._inner, self._outer)


@frozen
class _NestedListener:
    _inner: Any
    _outer: Any
    args: Args

    async def listen(self, address: Address) -> StreamListener:
        listening: StreamListener = await self._inner.listen(address)
        return listening

    async def listen_datagrams(self, address: Address) -> DatagramListener:
        return await _listen_datagrams(self._inner, address)

    async def aclose(self) -> None:
        await _let_both_go(self._inner, self._outer)


async def _let_both_go(inner: object, outer: object) -> None:
    # The inner one first: it may have something to say through the outer.
    try:
        await let_go(inner)
    finally:
        await let_go(outer)
