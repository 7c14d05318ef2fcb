"""What the operations named in spec-fixtures mean, said with ptipc: one module per room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen

from ptipc.core.dialects import Dialect
from ptipc.core.handshake import Handshake


@frozen
class CodecOperation:
    """``NAME/parse`` and ``NAME/emit``; values are what JSON can hold.

    Both raise ``ValueError`` or an error of ``ptipc.core.errors`` for what is invalid.
    """

    parse: Callable[[str, Dialect], Any]
    emit: Callable[[Any, Dialect], str]


@frozen
class WireOperation:
    """One end of a byte conversation.

    ``start`` makes the machine from the case's input, ``decide`` carries out a ``decide`` step of
    the script (what the caller of the machine does when asked), ``outcome`` says as JSON what the
    machine came to.
    """

    start: Callable[[dict[str, Any], Dialect], Handshake]
    decide: Callable[[Handshake, Any], None]
    outcome: Callable[[Handshake], Any]


@frozen
class Operation:
    """Any other operation: the case's input (and script) in, the outcome as JSON out."""

    run: Callable[[dict[str, Any], Dialect], Any]
