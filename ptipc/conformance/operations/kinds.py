"""What there is to say of an operation: how ptipc carries it out.  Values are JSON's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from attrs import frozen

from ptipc.core.dialects import Dialect

__all__ = [
    "CodecOperation",
    "Machine",
    "Operation",
    "PlainOperation",
    "ScriptOperation",
    "WireOperation",
]

Settings: TypeAlias = Mapping[str, Any]


class Machine(Protocol):
    """One end of an exchange of octets, as in ``ptipc.core.handshake``."""

    @property
    def done(self) -> bool:
        """Whether the exchange has come to its end."""
        ...

    @property
    def trailing_data(self) -> bytes:
        """What has been received behind it."""
        ...

    def receive_data(self, data: bytes) -> None:
        """Take octets from the peer."""
        ...

    def receive_eof(self) -> None:
        """Take note that there will be no more."""
        ...

    def receive_timeout(self) -> None:
        """Take note that the time is over."""
        ...

    def data_to_send(self) -> bytes:
        """The octets for the peer, once."""
        ...


@frozen
class CodecOperation:
    """``NAME/parse`` and ``NAME/emit``: a text and what it means.

    Both raise ``ValueError`` or an error of ``ptipc.core.errors`` for what is invalid.
    """

    parse: Callable[[str, Dialect], Any]
    emit: Callable[[Any, Dialect], str]


@frozen
class WireOperation:
    """One end of an exchange of octets.

    ``start`` makes the machine from the settings, ``decide`` carries out what the caller of the
    machine decides, ``outcome`` says what the machine came to.
    """

    start: Callable[[Settings, Dialect], Machine]
    decide: Callable[[Any, Any], None]
    outcome: Callable[[Any], Any]


@frozen
class ScriptOperation:
    """Anything else that happens step by step: what was said in each step, and the outcome."""

    play: Callable[[Settings, Sequence[Settings], Dialect], tuple[list[Any], Any]]


@frozen
class PlainOperation:
    """Anything else: the input in, the outcome out.  Raises as a codec does."""

    run: Callable[[Settings, Dialect], Any]


Operation: TypeAlias = CodecOperation | WireOperation | ScriptOperation | PlainOperation
