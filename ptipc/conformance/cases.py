"""The cases of ``spec-fixtures``: found, read and selected.

A case is one fact about the protocol.  What its operation means to a program under test is the
business of whoever plays it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeAlias

from attrs import field, frozen

import ptipc

__all__ = [
    "KINDS",
    "LEVELS",
    "Case",
    "Octets",
    "fill",
    "fixtures_directory",
    "load",
    "octets",
    "select",
]

KINDS = ("codec", "config", "wire", "session", "process")
"""The directories of the fixtures."""

LEVELS = ("MUST", "SHOULD", "MAY", "INTEROP")
"""How binding a rule is; INTEROP: no document says it, but a real program needs it."""

Octets: TypeAlias = str | Sequence[str | Mapping[str, Any]]
"""Octets in JSON: spaced hexadecimal, or a list of such and of runs (repeat, times)."""


def _texts(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(texts)


@frozen(kw_only=True)
class Case:
    """One fact about the protocol, with what shows it."""

    id: str
    title: str
    level: str
    requirements: tuple[str, ...] = field(converter=_texts)
    contradictions: tuple[str, ...] = field(converter=_texts)
    dialects: tuple[str, ...] = field(converter=_texts)
    section: str
    rule: str
    result: str
    op: str
    fixture: str
    """The file it stands in: ``wire/socks5``."""
    content: Mapping[str, Any] = field(repr=False, eq=False)
    """Everything that stands there; ``input``, ``output``, ``script`` depend on the operation."""

    @property
    def kind(self) -> str:
        """Which kind of fixture it is: its directory."""
        return self.fixture.partition("/")[0]


def fixtures_directory() -> Path:
    """Where the fixtures are: inside the installed package, or beside it in a checkout.

    Raises FileNotFoundError if they are in neither place.
    """
    package = Path(ptipc.__file__).parent
    for place in (package / "fixtures", package.parent / "spec-fixtures"):
        if (place / "VERSION").is_file():
            return place
    raise FileNotFoundError(f"no spec-fixtures with {package}")


def _read(path: Path) -> Iterator[Case]:
    document = json.loads(path.read_text(encoding="utf-8"))
    for content in document["cases"]:
        yield Case(
            fixture=document["fixture"],
            content=content,
            **{
                name: content[name]
                for name in (
                    "id",
                    "title",
                    "level",
                    "requirements",
                    "contradictions",
                    "dialects",
                    "section",
                    "rule",
                    "result",
                    "op",
                )
            },
        )


def load(kinds: Iterable[str] = KINDS, directory: Path | None = None) -> tuple[Case, ...]:
    """All cases of some kinds, in the order of their files.

    Raises OSError or ValueError if a file cannot be read.
    """
    place = directory or fixtures_directory()
    paths = [path for kind in kinds for path in sorted((place / kind).glob("*.json"))]
    return tuple(case for path in paths for case in _read(path))


def select(
    cases: Iterable[Case], wanted: Sequence[str] = (), unwanted: Sequence[str] = ()
) -> tuple[Case, ...]:
    """The cases whose id matches one of the patterns, if there are any, and none of the others.

    A pattern is a shell pattern, or the beginning of an id up to a dot.
    """

    def matches(case: Case, patterns: Sequence[str]) -> bool:
        return any(
            fnmatchcase(case.id, pattern) or case.id.startswith(f"{pattern}.")
            for pattern in patterns
        )

    return tuple(
        case
        for case in cases
        if (not wanted or matches(case, wanted)) and not matches(case, unwanted)
    )


def octets(value: Octets) -> bytes:
    """The octets that a case spells as JSON.  Raises ValueError for what are none."""
    if isinstance(value, str):
        return bytes.fromhex(value)
    return b"".join(
        bytes.fromhex(piece)
        if isinstance(piece, str)
        else bytes.fromhex(piece["repeat"]) * piece["times"]
        for piece in value
    )


def fill(value: Any, values: Mapping[str, str]) -> Any:
    """JSON with each ``{name}`` in it replaced, in keys as well."""
    if isinstance(value, str):
        for name, text in values.items():
            value = value.replace(f"{{{name}}}", text)
        return value
    if isinstance(value, Mapping):
        return {fill(key, values): fill(each, values) for key, each in value.items()}
    if isinstance(value, Sequence):
        return [fill(each, values) for each in value]
    return value
