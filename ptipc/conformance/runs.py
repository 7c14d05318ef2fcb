"""What was judged, how the verdicts count, and the file that keeps all of it.

The file is JSON lines: each run is a line about the program and a line for each verdict.  Every
other report is made from it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from attrs import Attribute, evolve, field, fields, frozen

from ptipc.conformance.cases import LEVELS
from ptipc.conformance.verdicts import Entry, Outcome, Transcript, Verdict

__all__ = [
    "BROKEN",
    "EXCUSED",
    "FAILURE",
    "MARKS",
    "NOTE",
    "PASSED",
    "SKIPPED",
    "SURPRISE",
    "WARNING",
    "Finding",
    "Mark",
    "Run",
    "area_of",
    "as_json_lines",
    "counted",
    "findings",
    "in_order",
    "level_rank",
    "mark_of",
    "read",
    "visible",
]

FORMAT = 1
"""The version of the file; it changes when an old reader would misunderstand a new file."""


# "tuple" itself is not a converter that mypy can read the type of an argument from.


def _texts(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(texts)


def _verdicts(verdicts: Iterable[Verdict]) -> tuple[Verdict, ...]:
    return tuple(verdicts)


@frozen(kw_only=True)
class Run:
    """One program, judged in one invocation."""

    program: str
    version: str = ""
    """What the program says it is, if that is known."""
    what: str = ""
    """As what it was judged, in the words of the command line: ``client obfs4``."""
    command: tuple[str, ...] = field(default=(), converter=_texts)
    dialects: tuple[str, ...] = field(default=(), converter=_texts)
    time: str = ""
    """When it began: ISO 8601, in UTC."""
    seconds: float = 0.0
    """How long it took."""
    ptipc: str = ""
    """The version of the tester."""
    fixtures: str = ""
    """The version of the fixtures."""
    strict: bool = False
    """SHOULD counts as much as MUST."""
    verdicts: tuple[Verdict, ...] = field(default=(), converter=_verdicts, repr=False)

    @property
    def label(self) -> str:
        """The program, with its version if that is known."""
        return f"{self.program} {self.version}".strip()


# --- how a verdict counts -------------------------------------------------------------------------


@frozen(kw_only=True)
class Mark:
    """How a verdict counts, and how it is shown."""

    name: str
    word: str
    """In a narrow column."""
    symbol: str
    meaning: str
    fails: bool = False
    """It is why the whole run fails."""
    finding: bool = True
    """There is something to tell about the program."""


FAILURE = Mark(
    name="failed",
    word="fail",
    symbol="✗",
    meaning="broke a MUST (in a strict run, also a SHOULD)",
    fails=True,
)
SURPRISE = Mark(
    name="unexpectedly passed",
    word="xpass",
    symbol="★",
    meaning="passed, though it is listed as an expected failure: take it off the list",
    fails=True,
)
BROKEN = Mark(
    name="not judged",
    word="error",
    symbol="?",
    meaning="the tester itself failed, so there is no judgement",
)
WARNING = Mark(name="warning", word="warn", symbol="!", meaning="broke a SHOULD")
NOTE = Mark(
    name="note",
    word="note",
    symbol="i",
    meaning="does without a MAY, or breaks no document but a real host or peer",
)
EXCUSED = Mark(
    name="expected failure",
    word="known",
    symbol="≈",
    meaning="failed, as its list of expected failures says",
)
SKIPPED = Mark(
    name="skipped",
    word="skip",
    symbol="\N{EN DASH}",
    meaning="does not apply to the program",
    finding=False,
)
PASSED = Mark(name="passed", word="pass", symbol="✓", meaning="kept the rule", finding=False)

MARKS = (FAILURE, SURPRISE, BROKEN, WARNING, NOTE, EXCUSED, SKIPPED, PASSED)
"""All of them, the worst first."""

_BY_OUTCOME = {Outcome.PASSED: PASSED, Outcome.SKIPPED: SKIPPED, Outcome.BROKEN: BROKEN}


def mark_of(verdict: Verdict, strict: bool = False) -> Mark:
    """How a verdict counts; ``strict``: SHOULD as much as MUST."""
    if verdict.outcome is Outcome.PASSED and verdict.excuse:
        return SURPRISE
    if verdict.outcome is not Outcome.FAILED:
        return _BY_OUTCOME[verdict.outcome]
    if verdict.excuse:
        return EXCUSED
    if verdict.level == "MUST" or (strict and verdict.level == "SHOULD"):
        return FAILURE
    return WARNING if verdict.level == "SHOULD" else NOTE


def counted(mark: Mark, number: int) -> str:
    """How many of a mark, in words: ``1 warning``, ``2 warnings``, ``3 failed``."""
    noun = mark in (WARNING, NOTE, EXCUSED)
    return f"{number} {mark.name}{'s' if noun and number != 1 else ''}"


def area_of(id: str) -> str:
    """The topic of a case: ``client.socks5`` of ``client.socks5.auth.no-method``."""
    return ".".join(id.split(".")[:-1][:2])


def level_rank(level: str) -> int:
    """Its place among the levels, the most binding first."""
    return LEVELS.index(level) if level in LEVELS else len(LEVELS)


@frozen(kw_only=True)
class Finding:
    """What is to be told about a program; the same thing in several editions is told once."""

    run: Run
    mark: Mark
    verdict: Verdict
    """The first of them."""
    dialects: tuple[str, ...]


def findings(runs: Iterable[Run]) -> list[Finding]:
    """Everything that is to be told, run by run, the worst first."""
    found: list[Finding] = []
    for run in in_order(runs):
        same: dict[tuple[str, ...], list[Verdict]] = {}
        for verdict in run.verdicts:
            mark = mark_of(verdict, run.strict)
            if mark.finding:
                told = (verdict.expected, verdict.got, verdict.reason, verdict.excuse)
                same.setdefault((mark.name, verdict.id, *told), []).append(verdict)
        of_run = [
            Finding(
                run=run,
                mark=mark_of(verdicts[0], run.strict),
                verdict=verdicts[0],
                dialects=tuple(verdict.dialect for verdict in verdicts),
            )
            for verdicts in same.values()
        ]
        of_run.sort(
            key=lambda each: (
                MARKS.index(each.mark),
                level_rank(each.verdict.level),
                each.verdict.id,
                each.dialects,
            )
        )
        found += of_run
    return found


def in_order(runs: Iterable[Run]) -> list[Run]:
    """The runs by program and time, and their verdicts by case and edition: always the same."""
    ordered = [
        evolve(run, verdicts=sorted(run.verdicts, key=lambda each: (each.id, each.dialect)))
        for run in runs
    ]
    return sorted(ordered, key=lambda run: (run.program, run.version, run.time, run.what))


def visible(text: str) -> str:
    """A text from a program under test, without what a terminal, XML or the eye would stumble over.

    What cannot be printed is written as an escape: control characters (a carriage return as well),
    lone surrogates, and what turns the direction of writing.
    """
    if text.isprintable():
        return text
    return "".join(
        char
        if char.isprintable() or char in "\n\t"
        else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


# --- the file -------------------------------------------------------------------------------------


def _flat(value: Any) -> dict[str, Any]:
    return {each.name: getattr(value, each.name) for each in fields(type(value))}


def _verdict_as_json(verdict: Verdict) -> dict[str, Any]:
    transcript = verdict.transcript
    return {
        **_flat(verdict),
        "outcome": verdict.outcome.value,
        "transcript": {
            "launch": dict(transcript.launch),
            "entries": [_flat(entry) for entry in transcript.entries],
        },
    }


def as_json_lines(runs: Iterable[Run]) -> Iterator[str]:
    """The lines of the file, without their ends."""
    for run in in_order(runs):
        head = {"report": FORMAT, **_flat(run)}
        del head["verdicts"]
        yield json.dumps(head, separators=(",", ":"))
        for verdict in run.verdicts:
            yield json.dumps(_verdict_as_json(verdict), separators=(",", ":"))


def read(path: Path) -> tuple[Run, ...]:
    """The runs in a file.

    Raises OSError if it cannot be read, and ValueError, which names file and line, for anything
    else.
    """
    runs: list[Run] = []
    verdicts: list[Verdict] = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                content = json.loads(line)
                if "report" in content:
                    if content["report"] != FORMAT:
                        raise ValueError(f"a report of version {content['report']!r}")
                    _end(runs, verdicts)
                    runs.append(_restored(Run, content))
                elif not runs:
                    raise ValueError("no run before it")
                else:
                    verdicts.append(_restored(Verdict, content, **_parts(content)))
            except (ValueError, TypeError, LookupError) as error:
                raise ValueError(f"{path}, line {number}: {error}") from error
    _end(runs, verdicts)
    return tuple(runs)


def _end(runs: list[Run], verdicts: list[Verdict]) -> None:
    if runs:
        runs[-1] = evolve(runs[-1], verdicts=verdicts)
        verdicts.clear()


def _parts(content: Mapping[str, Any]) -> dict[str, Any]:
    """What of a verdict is more than text."""
    transcript = content["transcript"]
    return {
        "outcome": Outcome(content["outcome"]),
        "transcript": Transcript(
            launch=dict(transcript["launch"]),
            entries=tuple(_restored(Entry, entry) for entry in transcript["entries"]),
        ),
    }


Value = TypeVar("Value", Run, Verdict, Entry)


def _restored(kind: type[Value], content: Mapping[str, Any], **known: Any) -> Value:
    """A value from its JSON; keys that a later version may add are passed over."""
    given = {
        each.name: _checked(each, content[each.name])
        for each in fields(kind)
        if each.name in content and each.name not in known
    }
    return kind(**given, **known)


_KINDS: Mapping[Any, type | tuple[type, ...]] = {
    "str": str,
    "bool": bool,
    "int": int,
    "float": (int, float),
}


def _checked(column: Attribute[Any], value: Any) -> Any:
    items, kind = [value], _KINDS.get(column.type)
    if kind is None:
        items, kind = value, str
    if not all(isinstance(item, kind) for item in items):
        raise TypeError(f"{column.name} is of another kind: {value!r}")
    return value if items is not value else tuple(value)
