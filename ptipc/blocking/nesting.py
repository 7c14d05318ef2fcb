"""One transport inside another: a network that is made of a transport.

There are two ways to hand a connection to a transport.  "Give me a dialer" (``through``) lets it
connect as often as it likes; "give me a stream" (``one_shot``) lets it have one connection that is
there already.  ``Nested`` is a transport that consists of two, to any depth and on both sides.
Source: PT 3.0 Base section 4 (Go and Swift have both ways).
"""

from __future__ import annotations

import errno
import threading

from attrs import define, field, frozen

from ptipc.blocking.network import Dialer, Network, StreamListener
from ptipc.blocking.streams import Stream
from ptipc.blocking.transport import Listener, Transport, let_go
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

__all__ = ["Nested", "one_shot", "through"]


def through(
    network: Network, *, dialer: Dialer | None = None, listener: Listener | None = None
) -> Network:
    """A network that connects by a transport's dialer, and listens by a transport's listener.

    What is not given is left to ``network``.
    """
    return _Through(network, dialer, listener)


def one_shot(network: Network, stream: Stream) -> Network:
    """A network whose only connection is there already, whatever the target.

    To dial a second time raises OSError; to listen is left to ``network``.
    """
    return _Through(network, _OneShot(stream), None)


@frozen
class _Through:
    _network: Network
    _dialer: Dialer | None
    _listener: Listener | None

    @property
    def state(self) -> State | None:
        return self._network.state

    def dial(self, target: Address) -> Stream:
        return (self._dialer or self._network).dial(target)

    def listen(self, address: Address) -> StreamListener:
        return (self._listener or self._network).listen(address)


@define
class _OneShot:
    _stream: Stream | None
    _taking: threading.Lock = field(factory=threading.Lock, init=False)

    def dial(self, target: Address) -> Stream:
        with self._taking:
            stream, self._stream = self._stream, None
        if stream is None:
            raise OSError(errno.EISCONN, "there was one connection only, and it is in use")
        return stream


@frozen
class Nested:
    """A transport of two transports: what ``inner`` makes of the traffic goes through ``outer``.

    On the wire it looks like ``outer``.  An arg that begins with the name of one of the two and a
    dot is for that one only, without name and dot; every other is for both.  What a server
    publishes has the names in front.  Its dialers and listeners close those of both (``close``).
    """

    name: str
    outer: Transport
    inner: Transport
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
        outer = self.outer.dialer(self._part(self.outer, args), network)
        inner = self.inner.dialer(self._part(self.inner, args), through(network, dialer=outer))
        return _NestedDialer(inner, outer)

    def listener(self, options: Args, network: Network) -> _NestedListener:
        outer = self.outer.listener(self._part(self.outer, options), network)
        inner = self.inner.listener(
            self._part(self.inner, options), through(network, listener=outer)
        )
        published = {self.outer.name: outer.args, self.inner.name: inner.args}
        return _NestedListener(inner, outer, published_args(published))

    def _part(self, transport: Transport, args: Args) -> Args:
        """The args for one of the two."""
        other = self.inner if transport is self.outer else self.outer
        return nested_args(args, transport.name, other.name)


@frozen
class _NestedDialer:
    _inner: Dialer
    _outer: Dialer

    def dial(self, target: Address) -> Stream:
        return self._inner.dial(target)

    def close(self) -> None:
        _let_both_go(self._inner, self._outer)


@frozen
class _NestedListener:
    _inner: Listener
    _outer: Listener
    args: Args

    def listen(self, address: Address) -> StreamListener:
        return self._inner.listen(address)

    def close(self) -> None:
        _let_both_go(self._inner, self._outer)


def _let_both_go(inner: object, outer: object) -> None:
    # The inner one first: it may have something to say through the outer.
    try:
        let_go(inner)
    finally:
        let_go(outer)
