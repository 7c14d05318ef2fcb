"""``bridge-line``: a bridge as people hand it to each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptipc.conformance.operations.kinds import CodecOperation, Operation
from ptipc.core.bridgelines import BRIDGE_LINE, BridgeLine
from ptipc.core.codecs import ADDRESS
from ptipc.core.dialects import Dialect
from ptipc.core.escapes import Args

__all__ = ["OPERATIONS"]


def _parse(text: str, dialect: Dialect) -> Any:
    line = BRIDGE_LINE.parse(text)
    return {
        "transport": line.transport,
        "address": str(line.address),
        "fingerprint": line.fingerprint,
        "args": [list(pair) for pair in line.args.pairs],
    }


def _emit(value: Any, dialect: Dialect) -> str:
    line = BridgeLine(
        transport=value["transport"],
        address=ADDRESS.parse(value["address"]),
        fingerprint=value["fingerprint"],
        args=Args([(key, text) for key, text in value["args"]]),
    )
    return BRIDGE_LINE.emit(line)


OPERATIONS: Mapping[str, Operation] = {"bridge-line": CodecOperation(_parse, _emit)}
