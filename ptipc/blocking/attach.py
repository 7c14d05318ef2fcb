"""Dialers of transports that nobody here has started: running already, or in this very program.

Whatever a transport is, host code sees a ``Dialer``; those of this module, and a process's, can
also be led through one another::

    near = attach("socks5://127.0.0.1:1080")
    far = in_process(MyTransport(), {"key": "..."})
    stream = chain(near, far).dial(target)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from attrs import evolve, field, frozen

from ptipc.blocking.dialing import DIAL_TIMEOUT, PortDialer
from ptipc.blocking.nesting import through
from ptipc.blocking.network import Dialer, Network, SystemNetwork
from ptipc.blocking.streams import Stream
from ptipc.blocking.transport import Transport, let_go
from ptipc.core.codecs import Address
from ptipc.core.dialects import PT1, Dialect
from ptipc.core.escapes import NO_ARGS, Args
from ptipc.core.launch import Place, running_port
from ptipc.core.ports import Port

__all__ = ["InProcessDialer", "Layer", "attach", "chain", "in_process"]


def attach(
    place: Place,
    args: Mapping[str, Any] = NO_ARGS,
    *,
    dialect: Dialect = PT1,
    transport: str = "the transport",
    allow_remote: bool = False,
    timeout: float | None = DIAL_TIMEOUT,
) -> PortDialer:
    """A dialer through a transport that runs already, an "unmanaged" one.

    ``place`` is the address of its port, where it speaks SOCKS5, or ``PROTOCOL://address`` with one
    of the protocols that a ``CMETHOD`` line may name.  ``dialect`` says how args are sent,
    ``transport`` what it is called in errors.
    Raises LocalProtocolError for a place that cannot be read, and for one that is not on loopback
    unless ``allow_remote`` is given: what goes there is not disguised yet.
    """
    protocol, address = running_port(place, allow_remote=allow_remote)
    port = Port(transport=transport, protocol=protocol, address=address, dialect=dialect)
    return PortDialer(args=args, timeout=timeout, find=lambda left: port)


def in_process(
    transport: Transport, args: Mapping[str, Any] = NO_ARGS, *, network: Network | None = None
) -> InProcessDialer:
    """A dialer through a transport of this program; the args are judged here (ValueError).

    ``network`` is how it reaches the world.
    """
    return InProcessDialer(transport=transport, args=args, network=network or SystemNetwork())


@frozen(kw_only=True)
class InProcessDialer:
    """A dialer through a transport of this program."""

    transport: Transport
    args: Args = field(converter=Args)
    network: Network
    _dialer: Dialer = field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_dialer", self.transport.dialer(self.args, self.network))

    def given(self, args: Mapping[str, Any]) -> InProcessDialer:
        """The same with other args.  Raises ValueError."""
        return evolve(self, args=args)

    def over(self, network: Dialer) -> InProcessDialer:
        """The same, with the world reached through another dialer."""
        return evolve(self, network=through(self.network, dialer=network))

    def dial(self, target: Address) -> Stream:
        """Connect to a target.  Raises OSError, or an error of ``ptipc.core.errors``."""
        return self._dialer.dial(target)

    def close(self) -> None:
        """Dial no more, and let go of what the transport holds for that; streams go on."""
        let_go(self._dialer)


class Layer(Dialer, Protocol):
    """A dialer that can be led through another."""

    def over(self, network: Dialer) -> Layer:
        """The same, with its own connections led through another dialer."""
        ...


def chain(nearest: Dialer, *further: Layer) -> Dialer:
    """A dialer through several, the nearest first: each reaches its server through the one before.

    That of a transport process can only be the nearest, as its process connects by itself; for
    another place, give the ``upstream_proxy`` of the one before to its launch.
    """
    dialer = nearest
    for layer in further:
        dialer = layer.over(dialer)
    return dialer
