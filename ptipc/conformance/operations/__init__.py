"""What the operations of the fixtures mean, said with ptipc: one module per room of the core."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ptipc.conformance.operations import (
    bridgelines,
    codecs,
    config,
    datagrams,
    escapes,
    extorport,
    httpconnect,
    messages,
    session,
    socks,
)
from ptipc.conformance.operations.kinds import CodecOperation, Operation

__all__ = ["OPERATIONS", "operation_names"]

_MODULES: tuple[Mapping[str, Operation], ...] = (
    bridgelines.OPERATIONS,
    codecs.OPERATIONS,
    config.OPERATIONS,
    datagrams.OPERATIONS,
    escapes.OPERATIONS,
    extorport.OPERATIONS,
    httpconnect.OPERATIONS,
    messages.OPERATIONS,
    session.OPERATIONS,
    socks.OPERATIONS,
)

OPERATIONS: Mapping[str, Operation] = MappingProxyType(
    {name: operation for module in _MODULES for name, operation in module.items()}
)
"""Every operation by its name; a codec is one operation with two directions."""


def operation_names() -> list[str]:
    """The operations as cases name them, each direction of a codec by itself."""
    return [
        spelled
        for name, operation in OPERATIONS.items()
        for spelled in (
            (f"{name}/parse", f"{name}/emit") if isinstance(operation, CodecOperation) else (name,)
        )
    ]
