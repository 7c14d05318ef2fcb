"""``line`` and ``line/hear``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import fields

from ptipc.conformance.operations.kinds import CodecOperation, Operation, PlainOperation
from ptipc.core.codecs import ADDRESS, SEVERITY, Codec, Protocol
from ptipc.core.dialects import Dialect, Role
from ptipc.core.escapes import Args
from ptipc.core.messages import FORMS, Message, Unknown, emit_line, parse_line

_KEYWORDS: dict[type[Message], str | None] = {
    **{form.message: form.keyword for form in FORMS},
    Unknown: None,
}

__all__ = ["OPERATIONS", "message_from_json", "message_to_json", "role_in"]


def _fields(kind: Any) -> list[str]:
    return [each.name for each in fields(kind)]


_SHAPES = {(keyword, frozenset(_fields(kind))): kind for kind, keyword in _KEYWORDS.items()}
"""A message is told by its keyword and the names of its fields."""


def _either(codec: Codec[Any]) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    return (
        lambda text: None if text is None else codec.parse(text),
        lambda value: None if value is None else codec.emit(value),
    )


def _lists(pairs: Any) -> list[list[Any]]:
    return [list(pair) for pair in pairs]


def _tuples(pairs: Any) -> tuple[tuple[Any, ...], ...]:
    return tuple(tuple(pair) for pair in pairs)


_READ: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "address": _either(ADDRESS),
    "args": (Args, lambda args: _lists(args.pairs)),
    "level": _either(SEVERITY),
    "options": (_tuples, _lists),
    "pairs": (_tuples, _lists),
    "protocol": (Protocol, lambda protocol: protocol.value),
}
"""How the fields that are not text are made from JSON, and made JSON."""


def message_from_json(value: Mapping[str, Any]) -> Message:
    """A message, as the fixtures write it."""
    given = {name: part for name, part in value.items() if name != "keyword"}
    kind = _SHAPES[value["keyword"], frozenset(given)]
    return kind(**{name: _READ.get(name, (str, str))[0](part) for name, part in given.items()})


def message_to_json(message: Message) -> dict[str, Any]:
    """A message, for the fixtures."""
    return {"keyword": _KEYWORDS[type(message)]} | {
        name: _READ.get(name, (str, str))[1](getattr(message, name))
        for name in _fields(type(message))
    }


def role_in(input: Mapping[str, Any]) -> Role | None:
    """The role in the input of a case, if there is one."""
    role = input.get("role")
    return None if role is None else Role(role)


def _parse(text: str, dialect: Dialect) -> Any:
    return message_to_json(parse_line(text, dialect))


def _emit(value: Any, dialect: Dialect) -> str:
    return emit_line(message_from_json(value), dialect)


def _hear(input: Mapping[str, Any], dialect: Dialect) -> Any:
    return message_to_json(parse_line(input["text"], dialect, role_in(input)))


OPERATIONS: Mapping[str, Operation] = {
    "line": CodecOperation(_parse, _emit),
    "line/hear": PlainOperation(_hear),
}
