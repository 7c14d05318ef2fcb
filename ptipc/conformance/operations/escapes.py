"""Args and options as text, strings with escapes, and what is said as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptipc.conformance.operations.kinds import CodecOperation, Operation
from ptipc.core.codecs import Codec
from ptipc.core.dialects import PT1, Dialect, Row
from ptipc.core.escapes import (
    ARGS,
    CSTRING,
    JSON_ARGS,
    JSON_OPTIONS,
    OPTIONS,
    OPTIONS_EQUALS,
    PAIRS,
    SMETHOD_ARGS,
    SMETHOD_ARGS_LAX,
    Args,
)

_FIRST_EDITION = Row(until=PT1)

__all__ = ["OPERATIONS"]


def _lists(pairs: tuple[tuple[str, Any], ...]) -> list[list[Any]]:
    return [[key, value] for key, value in pairs]


def _args(first: Codec[Args], later: Codec[Args] | None = None) -> CodecOperation:
    def codec(dialect: Dialect) -> Codec[Args]:
        return first if later is None or _FIRST_EDITION.applies(dialect) else later

    return CodecOperation(
        lambda text, dialect: _lists(codec(dialect).parse(text).pairs),
        lambda value, dialect: codec(dialect).emit(Args(value)),
    )


def _options(dialect: Dialect) -> Codec[Any]:
    return OPTIONS if _FIRST_EDITION.applies(dialect) else OPTIONS_EQUALS


OPERATIONS: Mapping[str, Operation] = {
    "client-args": _args(ARGS),
    "cstring": CodecOperation(
        lambda text, dialect: CSTRING.parse(text), lambda value, dialect: CSTRING.emit(value)
    ),
    "json-args": _args(JSON_ARGS),
    "json-options": CodecOperation(
        lambda text, dialect: JSON_OPTIONS.parse(text),
        lambda value, dialect: JSON_OPTIONS.emit(value),
    ),
    "pairs": CodecOperation(
        lambda text, dialect: _lists(PAIRS.parse(text)),
        lambda value, dialect: PAIRS.emit(tuple((key, text) for key, text in value)),
    ),
    "server-options": CodecOperation(
        lambda text, dialect: [
            [name, _lists(args.pairs)] for name, args in _options(dialect).parse(text).items()
        ],
        lambda value, dialect: _options(dialect).emit({name: Args(pairs) for name, pairs in value}),
    ),
    "smethod-args": _args(SMETHOD_ARGS, SMETHOD_ARGS_LAX),
}
