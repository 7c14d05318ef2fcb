"""The port of a client's transport: what is asked of it, and what its answers mean.

A ``Port`` is what a ``CMETHOD`` line says, with whom to ask about its process.  Nothing here
connects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from attrs import frozen

from ptipc.core.bridgelines import BridgeLine
from ptipc.core.codecs import Address, Protocol, shortened
from ptipc.core.dialects import Dialect
from ptipc.core.errors import LocalProtocolError, PtipcError, RemoteProtocolError
from ptipc.core.escapes import NO_ARGS, Args
from ptipc.core.handshake import Handshake
from ptipc.core.launch import ProcessEnded
from ptipc.core.socks import RequestRefused, SocksInitiator

__all__ = ["HungUp", "Port", "has_broken", "receive_eof", "route"]

_VERSIONS = {Protocol.SOCKS4: 4, Protocol.SOCKS5: 5}
_DATAGRAMS = (Protocol.TRANSPARENT_UDP, Protocol.STUN)


@frozen(kw_only=True)
class Port:
    """Where a client's transport is reached, and what is spoken there."""

    transport: str
    protocol: Protocol
    address: Address
    dialect: Dialect
    """The edition, which says how args are sent."""
    ended: Callable[[], Any] | None = None
    """Asked when a connection broke: how the process has ended, in words, if it has."""
    said: Callable[[], Iterable[str]] = tuple
    """What the process has said meanwhile, for an error to repeat."""

    # --- what is asked of it

    def handshake(self, target: Address | None, args: Args) -> Handshake | None:
        """The handshake for a connection to a target; None: there is none.

        Raises LocalProtocolError if target or args cannot be said.
        """
        if self.protocol in _VERSIONS:
            if target is None:
                raise LocalProtocolError("no target to dial")
            version = _VERSIONS[self.protocol]
            return SocksInitiator.for_dialect(self.dialect, target, args, version=version)
        if self.protocol in _DATAGRAMS:
            raise LocalProtocolError(f"{self.transport} is spoken to in datagrams, not in streams")
        self._check_unsaid(target, args)
        return None

    def check_datagrams(self, target: Address | None, args: Args) -> None:
        """Raises LocalProtocolError if it takes no datagrams, or target or args cannot be said."""
        if self.protocol not in _DATAGRAMS:
            raise LocalProtocolError(f"{self.transport} is spoken to in streams, not in datagrams")
        self._check_unsaid(target, args)

    def _check_unsaid(self, target: Address | None, args: Args) -> None:
        if target is not None or args:
            raise LocalProtocolError(
                f"{self.transport} takes neither target nor args for a connection, but at its start"
            )

    # --- what its answers mean

    def end(self, words: str) -> ProcessEnded:
        """The error for a connection that broke because the process has ended, in these words."""
        return ProcessEnded(f"the process of {self.transport} ended with {words}")

    def unreachable(self, error: OSError) -> OSError:
        """The error for a port that could not be reached."""
        if isinstance(error, PtipcError):  # of a dialer that is not the operating system's
            return error
        text = f"cannot reach the port of {self.transport} at {self.address}: {_reason(error)}"
        if isinstance(error, ConnectionRefusedError):
            text += "; is it running, and is that its port?"
        return _told(error, text)

    def explained(self, error: Exception, target: Address | None) -> Exception:
        """An error of a handshake with who said so about what, or as it is if that is clear."""
        if isinstance(error, RequestRefused):
            text = f"{self.transport} cannot connect to {target}: {error}"
            if said := list(self.said()):
                text += f"; meanwhile it said {', '.join(repr(shortened(each)) for each in said)}"
            return type(error)(text, error.code)
        if isinstance(error, RemoteProtocolError):
            return type(error)(f"the port of {self.transport} at {self.address}: {error}")
        if isinstance(error, OSError) and not isinstance(error, PtipcError):
            text = f"the connection to {self.transport} at {self.address} broke: {_reason(error)}"
            return _told(error, text)
        return error


_REASONS: dict[type[OSError], str] = {
    TimeoutError: "it took too long",
    ConnectionRefusedError: "nobody listens there",
    ConnectionResetError: "the other end has reset it",
    ConnectionAbortedError: "it was aborted",
    BrokenPipeError: "the other end takes no more",
}
"""What an error says that says nothing, as that of asyncio's time limit."""


def _reason(error: OSError) -> str:
    name = type(error).__name__
    return error.strerror or str(error) or _REASONS.get(type(error), name)


def _told(error: OSError, text: str) -> OSError:
    """The same error with more to say; without a number it would begin with one called None."""
    return type(error)(text) if error.errno is None else type(error)(error.errno, text)


class HungUp(RemoteProtocolError):
    """The peer closed the connection in the middle of the handshake."""


def has_broken(error: Exception) -> bool:
    """Whether a connection broke, so that its process may have ended."""
    return isinstance(error, OSError | HungUp) and not isinstance(error, RequestRefused)


def receive_eof(machine: Handshake) -> None:
    """Tell an initiator that the peer has sent its last.  Raises HungUp if it wanted more."""
    try:
        machine.receive_eof()
    except RemoteProtocolError as error:
        raise HungUp(str(error)) from None


def route(
    transport: str | BridgeLine, target: Address | None, args: Mapping[str, Any] = NO_ARGS
) -> tuple[str, Address | None, Args]:
    """The transport, target and args of a connection, which a bridge line has all in one.

    Raises LocalProtocolError for a bridge line that has something to its side, or no transport.
    """
    if not isinstance(transport, BridgeLine):
        return transport, target, Args(args)
    if target is not None or args:
        raise LocalProtocolError("a bridge line has a target and args of its own")
    if transport.transport is None:
        raise LocalProtocolError("a bridge line without a transport needs none")
    return transport.transport, transport.address, transport.args
