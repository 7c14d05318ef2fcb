"""The template of a line: one text, read in both directions.

A template copies the specification's notation: ``{name}`` is a field of the message,
``{name:spelling}`` names its spelling where that is not the field's usual one, and what stands in
``[ ]`` may be missing.  Parsing is tolerant, emission is canonical; what is emitted is parsed again
before it is said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import zip_longest
from typing import Any, Literal, TypeAlias

from attrs import field, frozen

from ptipc.core.codecs import (
    LEVEL,
    LISTENER,
    LOCAL_ADDRESS,
    NAME,
    PRINTABLE,
    PROTOCOL,
    SEVERITY,
    TEXT,
    TOKEN,
    UTF8_TEXT,
    Codec,
)
from ptipc.core.dialects import DIALECTS, PT1, Dialect, Row, Stream
from ptipc.core.errors import LocalProtocolError, RemoteProtocolError
from ptipc.core.escapes import CSTRING, PAIRS, SMETHOD_ARGS, SMETHOD_ARGS_LAX

__all__ = ["Form", "Message", "keyword_of"]


class Message:
    """What a line means."""

    __slots__ = ()


# --- how the fields are spelled -------------------------------------------------------------------


def _parse_options(text: str) -> tuple[tuple[str, str], ...]:
    # C33: what has not the form K:V is no option, and tor takes no notice of it either.
    words = (word.partition(":") for word in text.split(" "))
    return tuple((key, value) for key, colon, value in words if colon)


def _emit_options(options: tuple[tuple[str, str], ...]) -> str:
    if options:
        raise ValueError(f"no edition has an option {options[0][0]!r}")
    return ""


def _is_version(pairs: Iterable[tuple[str, str]]) -> bool:
    return any(key == "TYPE" and value.lower() == "version" for key, value in pairs)


def _parse_status(text: str) -> tuple[tuple[str, str], ...]:
    pairs = PAIRS.parse(text)
    if _is_version(pairs):  # or it were StatusVersion
        raise ValueError(f"a version without IMPLEMENTATION and VERSION: {text!r}")
    return pairs


def _emit_status(pairs: tuple[tuple[str, str], ...]) -> str:
    if _is_version(pairs):
        raise ValueError("TYPE=version is said by StatusVersion")
    # C22: tor before 0.4.8.13 drops a STATUS without TRANSPORT.
    if len(pairs) < 2 or pairs[0][0] != "TRANSPORT":
        raise ValueError("TRANSPORT does not come first, or nothing behind it")
    return PAIRS.emit(pairs)


@frozen
class _Spelling:
    """How a field is written, in each edition, and how far it reaches."""

    codec: Codec[Any] | Mapping[int, Codec[Any]]
    extent: Literal["word", "rest", "other words"] = "word"

    def within(self, dialect: Dialect) -> Codec[Any]:
        return self.codec if isinstance(self.codec, Codec) else self.codec[dialect.edition]


_ARGS = {
    # C30: only the documents since 2.0 have examples with ";".
    dialect.edition: SMETHOD_ARGS if dialect is PT1 else SMETHOD_ARGS_LAX
    for dialect in DIALECTS
}

_METHOD_ADDRESS = {
    # C28: arti takes loopback only, but it is not arti that chooses another address.
    dialect.edition: LISTENER if dialect.chosen_listeners else LOCAL_ADDRESS
    for dialect in DIALECTS
}

_SPELLINGS = {
    # Those of fields, under their names:
    "address": _Spelling(_METHOD_ADDRESS),
    "args": _Spelling(_ARGS),
    "implementation": _Spelling(PRINTABLE),  # C23: tor copies it into its extra-info unquoted
    "level": _Spelling(LEVEL),
    "options": _Spelling(Codec(_parse_options, _emit_options), "other words"),
    "pairs": _Spelling(Codec(_parse_status, _emit_status), "rest"),
    "protocol": _Spelling(PROTOCOL),
    "text": _Spelling(TEXT, "rest"),
    "transport": _Spelling(NAME),
    "version": _Spelling(TOKEN, "rest"),  # C63: "VERSION 2 PROXY DONE" names no version
    # Others, for the templates to name:
    "no-version": _Spelling(Codec(str, lambda text: "no-version"), "rest"),  # C13
    "printable": _Spelling(PRINTABLE),
    "public": _Spelling(LISTENER),
    "rest": _Spelling(TEXT, "rest"),
    "severity": _Spelling(SEVERITY),
    "utf8": _Spelling(UTF8_TEXT, "rest"),
    "verbatim": _Spelling(Codec(str, str)),
    # Real programs write an empty name, or "*"; what is said has a proper one.
    "word": _Spelling(Codec(str, NAME.emit)),
}


# --- templates ------------------------------------------------------------------------------------


@frozen
class _Part:
    """One part of a template: ``DONE``, ``{address}``, ``ARGS:{args}``, ``KEY="{field}"``."""

    literal: str
    field: str
    """The name of the field; empty: the part is nothing but its literal."""
    spelling: _Spelling | None
    quoted: bool
    optional: bool

    def parse(self, piece: str, dialect: Dialect) -> dict[str, Any]:
        """The field's value under its name, if the part has one; ``piece`` has the literal."""
        if self.spelling is None:
            if piece != self.literal:
                raise ValueError(f"{piece!r} where {self.literal} belongs")
            return {}
        if not piece.startswith(self.literal):
            raise ValueError(f"no {self.literal}")
        text = piece.removeprefix(self.literal)
        return {self.field: self.spelling.within(dialect).parse(text)}

    def emit(self, message: Message, dialect: Dialect) -> str:
        """The field as it is written behind the literal."""
        if self.spelling is None:
            return ""
        text = self.spelling.within(dialect).emit(getattr(message, self.field))
        return CSTRING.emit(text) if self.quoted else text


_KEYWORD = re.compile(r"[A-Za-z0-9_-]+")  # PT 1 section 3.3
_PART = re.compile(
    r"""(?P<optional>\[)?[ ](?=[^ \]])(?P<literal>[^ \[\]{}"]*)(?P<quoted>")?"""
    r"""(?:\{(?P<field>\w+)(?::(?P<spelling>[\w-]+))?\})?"?\]?"""
)

Pieces: TypeAlias = Iterator[tuple[_Part, str]]


@frozen
class Form(Row):
    """The row of a line: its class, its template, and what follows from saying it.

    There are three kinds of templates.  If every part is ``KEY=...``, the keys may come in any
    order and others are ignored.  If there is free text, each part but that ends at the first
    blank, so that the text is verbatim.  Otherwise the parts are words, any number of blanks apart;
    a word with the literal of an optional part is found anywhere behind the others, and words that
    belong to no part are ignored (C17).
    """

    message: type[Message]
    template: str
    error: bool = field(default=False, kw_only=True)
    """Whether it is one of the five lines that since PT 2.0 belong on stderr (C9)."""
    exit: int | None = field(default=None, kw_only=True)
    """The code with which the process has to end, if it has to (C10)."""
    keyword: str = field(init=False, repr=False, eq=False)
    _parts: tuple[_Part, ...] = field(init=False, repr=False, eq=False)

    @keyword.default
    def _read_keyword(self) -> str:
        return re.split(r"[ \[]", self.template, maxsplit=1)[0]

    @_parts.default
    def _read_parts(self) -> tuple[_Part, ...]:
        matches = list(_PART.finditer(self.template, len(self.keyword)))
        parts = "".join(match[0] for match in matches)
        if not _KEYWORD.fullmatch(self.keyword) or self.keyword + parts != self.template:
            raise ValueError(f"not a template of a line: {self.template!r}")
        return tuple(
            _Part(
                literal=match["literal"],
                field=match["field"] or "",
                spelling=_SPELLINGS[name]
                if (name := match["spelling"] or match["field"])
                else None,
                quoted=bool(match["quoted"]),
                optional=bool(match["optional"]),
            )
            for match in matches
        )

    @property
    def meaning(self) -> str:
        """What the line means, in a sentence."""
        return (self.message.__doc__ or "").partition("\n")[0]

    def stream(self, dialect: Dialect) -> Stream:
        """Where the line is written in an edition (C9, C66)."""
        return dialect.error_stream if self.error else Stream.STDOUT

    def parse(self, text: str, dialect: Dialect | None = None) -> Message:
        """The message of a line of this form, in an edition (else the last that has the form).

        Raises RemoteProtocolError if it is not such a line.
        """
        dialect = dialect or self.until
        values: dict[str, Any] = {}
        try:
            for part, piece in self._pieces(text):
                values.update(part.parse(piece, dialect))
        except ValueError as error:
            raise RemoteProtocolError(f"malformed {self.keyword} line: {error}") from None
        return self.message(**values)

    def emit(self, message: Message, dialect: Dialect | None = None) -> str:
        """The line of a message, in an edition (else the last that has the form).

        Raises LocalProtocolError if the message cannot be said, or would be heard as another one.
        """
        dialect = dialect or self.until
        try:
            spelled = self._spell(message, dialect)
            text = self.keyword + "".join(
                f" {part.literal}{value}"
                for part, value in zip(self._parts, spelled, strict=True)
                if value or not part.optional
            )
            # Not what the line is: it may hold what nobody else is to see.
            if not text.isprintable() or text.endswith(" "):
                raise ValueError("it is not one line of printable text without a blank at the end")
            if self._spell(self.parse(text, dialect), dialect) != spelled:
                raise ValueError("it would be heard with another meaning")
        except (ValueError, RemoteProtocolError) as error:
            raise LocalProtocolError(f"this {self.keyword} cannot be said: {error}") from None
        return text

    def _spell(self, message: Message, dialect: Dialect) -> list[str]:
        return [part.emit(message, dialect) for part in self._parts]

    def _pieces(self, text: str) -> Pieces:
        if "\n" in text:
            raise ValueError("more than one line")
        keyword = keyword_of(text)
        if keyword != self.keyword:
            raise ValueError(f"its keyword is {keyword!r}")
        rest = text[len(keyword) :]
        extents = {part.spelling.extent for part in self._parts if part.spelling}
        if "rest" in extents:
            return self._by_blank(rest)
        if self._parts and all("=" in part.literal for part in self._parts):
            return self._by_key(rest)
        return self._by_word(rest)

    def _by_key(self, rest: str) -> Pieces:
        found = dict(reversed(PAIRS.parse(rest)))  # the first of a key counts
        for part in self._parts:
            key, _, fixed = part.literal.partition("=")
            if key not in found:
                raise ValueError(f"no {key}")
            value = found[key]
            if not part.field and value.lower() == fixed:
                value = fixed  # C23: "TYPE=Version" is read, too
            yield part, f"{key}={value}"

    def _by_blank(self, rest: str) -> Pieces:
        # The keyword is split off as well; what is before it is nothing.
        pieces = re.split(r"[ \t]", rest, maxsplit=len(self._parts))[1:]
        for part, piece in zip_longest(self._parts, pieces):
            if piece is not None:
                yield part, piece
            elif not part.optional:
                raise ValueError(f"no {part.field}")
            else:
                yield part, part.literal

    def _by_word(self, rest: str) -> Pieces:
        words = re.findall(r"[^ \t]+", rest)
        for part in self._parts:
            if not part.optional:
                if not words:
                    raise ValueError(f"no {part.field or part.literal}")
                yield part, words.pop(0)
            elif part.spelling and part.spelling.extent == "other words":
                yield part, " ".join(words)
            else:
                found = [word for word in words if word.startswith(part.literal)]
                if found:
                    words.remove(found[0])
                    yield part, found[0]


def keyword_of(text: str) -> str:
    """What is before the first blank of a line."""
    return re.split(r"[ \t]", text, maxsplit=1)[0]
