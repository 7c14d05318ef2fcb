"""From the statements of the documents to the cases that prove them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from ptipc.conformance.cases import Case
from ptipc.conformance.fixtures import read
from ptipc.core.dialects import DIALECTS

__all__ = ["BESIDE", "LEVELS", "State", "Statement", "statements", "states", "table"]

LEVELS = ("MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "MAY", "DEF")
"""How binding a statement is; DEF: it says what there is, without a word of RFC 2119."""

BESIDE = "beside"
"""Instead of an edition: the documents that hold for all of them, like that of the ExtORPort."""

_EDITIONS = {
    "pt1": "1",
    "pt2.0": "2",
    "pt2.1": "2",
    "pt2.2": "2.2",
    "pt2.2.1": "2.2",
    "pt3.0": "3.0",
}


@frozen(kw_only=True)
class Statement:
    """What a document says, in our words, and how it is proved."""

    id: str
    spec: tuple[str, ...] = field(converter=tuple)
    """The documents that say so, by the names of ``specs.json``."""
    section: str
    level: str
    who: str
    statement: str
    proof: str
    """``cases``, ``checks`` (of running processes), or ``none``."""
    excuse: str = ""
    """Why there is no proof."""

    @property
    def editions(self) -> tuple[str, ...]:
        """The editions that say so."""
        named = {_EDITIONS.get(spec, BESIDE) for spec in self.spec}
        columns = (*(dialect.version for dialect in DIALECTS), BESIDE)
        return tuple(edition for edition in columns if edition in named)


def statements(directory: Path) -> tuple[Statement, ...]:
    """What ``requirements.json`` says.  Raises OSError, LookupError or ValueError."""

    def made(each: Mapping[str, Any]) -> Statement:
        proof = each["proof"]
        excused = isinstance(proof, Mapping)
        return Statement(
            **{key: value for key, value in each.items() if key != "proof"},
            proof="none" if excused else proof,
            excuse=proof["none"] if excused else "",
        )

    return tuple(made(each) for each in read(directory / "requirements.json")["requirements"])


@frozen
class State:
    """How a statement stands in one edition."""

    statement: Statement
    edition: str
    proved: bool

    @property
    def excused(self) -> bool:
        """Whether there is a reason why it is not proved."""
        return bool(self.statement.excuse)

    @property
    def missing(self) -> bool:
        """Whether it is neither proved nor excused."""
        return not self.proved and not self.excused


def states(said: Iterable[Statement], cases: Iterable[Case]) -> Iterator[State]:
    """How each statement stands in each edition that has it."""
    proved: dict[str, set[str]] = {}
    for case in cases:
        for id in case.requirements:
            proved.setdefault(id, {BESIDE}).update(case.dialects)
    for statement in said:
        for edition in statement.editions:
            yield State(statement, edition, edition in proved.get(statement.id, ()))


def table(found: Iterable[State]) -> str:
    """The matrix by level and edition, of at most 80 columns: proved, missing, excused."""
    rows: dict[tuple[str, str], list[int]] = {}
    columns = [*(dialect.version for dialect in DIALECTS), BESIDE]
    for state in found:
        kind = 0 if state.proved else 2 if state.excused else 1
        for level in (state.statement.level, "all"):
            rows.setdefault((level, state.edition), [0, 0, 0])[kind] += 1
    lines = [
        " " * 12 + "".join(f"{edition:^11}  " for edition in columns).rstrip(),
        " " * 12 + ("yes  no exc  " * len(columns)).rstrip(),
    ]
    for level in (*LEVELS, "all"):
        cells = [rows.get((level, edition), [0, 0, 0]) for edition in columns]
        text = "".join(f"{yes:3} {no:3} {excused:3}  " for yes, no, excused in cells)
        lines.append(f"{level:<12}{text}".rstrip())
    return "\n".join(lines)
