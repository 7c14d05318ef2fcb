"""The verdicts for whoever reads them: a person at a terminal, CI, a badge.

The page with the matrix is in ``htmlreport``.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias
from xml.etree import ElementTree

from ptipc.conformance import htmlreport, wirelog
from ptipc.conformance.cases import LEVELS
from ptipc.conformance.runs import (
    BROKEN,
    EXCUSED,
    FAILURE,
    MARKS,
    PASSED,
    SKIPPED,
    SURPRISE,
    WARNING,
    Finding,
    Mark,
    Run,
    area_of,
    as_json_lines,
    counted,
    findings,
    in_order,
    mark_of,
    visible,
)
from ptipc.conformance.verdicts import Verdict

__all__ = ["FORMATS", "SUFFIXES", "badge", "junit", "markdown", "render", "text", "write"]

WIDTH = 80


def _counts(run: Run) -> dict[str, Counter[Mark]]:
    """How many verdicts of each kind, by level and then area."""
    counts: dict[str, Counter[Mark]] = {}
    for verdict in run.verdicts:
        for row in (verdict.level, area_of(verdict.id)):
            counts.setdefault(row, Counter())[mark_of(verdict, run.strict)] += 1
    return counts


def _total(runs: Iterable[Run]) -> Counter[Mark]:
    return Counter(mark_of(verdict, run.strict) for run in runs for verdict in run.verdicts)


def _editions(dialects: Sequence[str]) -> str:
    return f"PT {', '.join(dialects)}"


def _facts(verdict: Verdict) -> list[tuple[str, str]]:
    """What there is to tell about a verdict: headings and texts."""
    facts = (
        ("rule", verdict.rule),
        ("sent", verdict.sent),
        ("expected", verdict.expected),
        ("got", verdict.got),
        ("reason", verdict.reason),
        ("excuse", verdict.excuse),
        ("breaks", ", ".join(verdict.breaks)),
    )
    return [(name, visible(said)) for name, said in facts if said]


# --- a terminal -----------------------------------------------------------------------------------


def text(runs: Iterable[Run]) -> str:
    """A summary of at most 80 columns; only the commands to reproduce a finding may be longer.

    It is plain: no colour, and no characters besides ASCII but those of the programs and rules.
    """
    parts = []
    for run in in_order(runs):
        found = findings([run])
        parts.append([*_heading(run), ""])
        if run.verdicts:
            parts.append([*_table(run), ""])
        parts += [[*_told(finding), ""] for finding in found]
        parts.append([*_closing(run), ""])
    return "\n".join(line for part in parts for line in part)


def _wrapped(head: str, said: str, indent: int) -> list[str]:
    """A text behind a heading, at most 80 columns wide; a long word is broken."""
    return [
        line
        for index, paragraph in enumerate(said.split("\n"))
        for line in textwrap.wrap(
            paragraph.expandtabs(),
            WIDTH,
            initial_indent=head.ljust(indent) if index == 0 else " " * indent,
            subsequent_indent=" " * indent,
            break_on_hyphens=False,
        )
        or [head]
    ]


def _heading(run: Run) -> list[str]:
    said = [run.label, run.what and f"as {run.what}", _editions(run.dialects)]
    return _wrapped("", visible(", ".join(filter(None, said))), 0)


def _table(run: Run) -> list[str]:
    """How many verdicts of each kind, area by area."""
    total = _total([run])
    shown = [mark for mark in reversed(MARKS) if total[mark] or mark in (PASSED, FAILURE)]
    counts = _counts(run)
    rows = [row for row in sorted(counts) if row not in LEVELS]
    first = max(len(row) for row in rows)
    lines = [" ".join([" " * (first + 2), *(f"{mark.word:>6}" for mark in shown)])]
    for row in rows:
        numbers = (str(counts[row][mark] or ".") for mark in shown)
        lines.append(" ".join([f"  {row:<{first}}", *(f"{number:>6}" for number in numbers)]))
    return lines


def _told(finding: Finding) -> list[str]:
    verdict = finding.verdict
    head = finding.mark.word.upper()
    lines = _wrapped(head, f"{verdict.level} {verdict.id}", 6)
    lines += _wrapped("", f"{_editions(finding.dialects)}: {visible(verdict.title)}", 6)
    for name, said in [*_facts(verdict), ("section", visible(verdict.section))]:
        lines += _wrapped(f"      {name}", said, 16)
    if verdict.reproduce:
        lines += ["      reproduce", f"        {visible(verdict.reproduce)}"]
    return lines


def _closing(run: Run) -> list[str]:
    total = _total([run])
    counts = [counted(mark, total[mark]) for mark in MARKS if total[mark]]
    said = f"{total.total()} checked: {', '.join(reversed(counts)) or 'nothing'}"
    return _wrapped("", f"{said}; {run.seconds:.1f} s", 0)


# --- a page of CI ---------------------------------------------------------------------------------

ROOM = 900_000
"""How long the Markdown may be: GitHub refuses a summary past 1 MiB, as a whole."""

PUNCTUATION = re.compile(r"[^\w\s.,;()/'\"=+-]|_", re.ASCII)


def _plain(said: str) -> str:
    """A text that Markdown takes literally, in one line."""
    one_line = " ".join(visible(said).split())
    return PUNCTUATION.sub(
        lambda found: f"&#{ord(found[0])};" if found[0].isascii() else found[0], one_line
    )


def _fenced(said: str) -> list[str]:
    """A text in a block of its own, whatever it has in it."""
    longest = max((len(run) for run in re.findall("`+", said)), default=0)
    fence = "`" * max(3, longest + 1)
    return [fence, said, fence]


def markdown(runs: Iterable[Run]) -> str:
    """A summary for a page of CI: the numbers by level, then the findings, folded up."""
    ordered = in_order(runs)
    lines = ["## Pluggable Transport conformance", ""]
    for run in ordered:
        lines += _markdown_numbers(run)
    room = ROOM - sum(len(line.encode(errors="replace")) + 1 for line in lines)
    told = findings(ordered)
    for index, finding in enumerate(told):
        part = _markdown_finding(finding)
        room -= sum(len(line.encode(errors="replace")) + 1 for line in part)
        if room < 0:
            lines += [f"and {len(told) - index} more, which have no room here", ""]
            break
        lines += part
    return "\n".join(lines)


def _markdown_numbers(run: Run) -> list[str]:
    counts, total = _counts(run), _total([run])
    shown = [mark for mark in reversed(MARKS) if total[mark] or mark in (PASSED, FAILURE)]
    facts = (
        run.what,
        _editions(run.dialects),
        run.ptipc and f"ptipc {run.ptipc}",
        run.fixtures and f"fixtures {run.fixtures}",
        run.time,
    )
    lines = [
        f"### {_plain(run.label)}",
        "",
        " · ".join(_plain(fact) for fact in facts if fact),
        "",
        " | ".join(["| Level", *(f"{mark.symbol} {mark.name}" for mark in shown)]) + " |",
        "| --- |" + " ---: |" * len(shown),
    ]
    for level in (*LEVELS, "all"):
        of_level = total if level == "all" else counts.get(level, Counter())
        if of_level:
            numbers = (str(of_level[mark] or "") for mark in shown)
            lines.append(" | ".join([f"| {level}", *numbers]) + " |")
    return [*lines, ""]


def _markdown_finding(finding: Finding) -> list[str]:
    run, verdict = finding.run, finding.verdict
    title = (
        f"{finding.mark.symbol} {finding.mark.name} · {_plain(verdict.level)} · "
        f"<code>{_plain(verdict.id)}</code> · {_plain(run.label)}, "
        f"{_plain(_editions(finding.dialects))} · {_plain(verdict.title)}"
    )
    lines = ["<details>", f"<summary>{title}</summary>", ""]
    for name, said in [*_facts(verdict), ("section", verdict.section)]:
        if name in ("sent", "expected", "got"):
            lines += [f"**{name}**", "", *_fenced(said), ""]
        else:
            lines += [f"**{name}**: {_plain(said)}", ""]
    if verdict.reproduce:
        lines += ["**reproduce**", "", *_fenced(visible(verdict.reproduce)), ""]
    return [*lines, "</details>", ""]


# --- JUnit ----------------------------------------------------------------------------------------


def junit(runs: Iterable[Run]) -> str:
    """XML as CI servers read it: a suite for each area, edition and program.

    What does not fail the run is no failure here either: it is skipped, with the finding as its
    message.  Whatever is a finding has its transcript in ``system-out``.
    """
    root = ElementTree.Element("testsuites", name="ptipc")
    for run in in_order(runs):
        suites: dict[tuple[str, str], list[Verdict]] = {}
        for verdict in run.verdicts:
            suites.setdefault((verdict.dialect, area_of(verdict.id)), []).append(verdict)
        for (dialect, area), verdicts in sorted(suites.items()):
            _suite(root, run, dialect, area, verdicts)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(
    root: ElementTree.Element, run: Run, dialect: str, area: str, verdicts: Sequence[Verdict]
) -> None:
    marks = Counter(mark_of(verdict, run.strict) for verdict in verdicts)
    failures = sum(marks[mark] for mark in MARKS if mark.fails)
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        name=visible(area),
        tests=str(len(verdicts)),
        failures=str(failures),
        errors=str(marks[BROKEN]),
        skipped=str(len(verdicts) - failures - marks[BROKEN] - marks[PASSED]),
        time=f"{sum(verdict.seconds for verdict in verdicts):.3f}",
    )
    if run.time:
        # The type in the schema is a dateTime without a zone.
        suite.set("timestamp", visible(run.time.removesuffix("Z")))
    _properties(
        suite,
        {
            "program": run.program,
            "version": run.version,
            "what": run.what,
            "dialect": dialect,
            "ptipc": run.ptipc,
            "fixtures": run.fixtures,
        },
    )
    # A dot separates packages there.
    program = visible(run.program).replace(".", "_")
    name = f"{program}.PT{dialect.replace('.', '_')}.{area}"
    for verdict in verdicts:
        case = ElementTree.SubElement(
            suite,
            "testcase",
            classname=visible(name),
            name=visible(verdict.id),
            time=f"{verdict.seconds:.3f}",
        )
        _test_case(case, verdict, mark_of(verdict, run.strict))


def _properties(parent: ElementTree.Element, values: Mapping[str, str]) -> None:
    holder = ElementTree.SubElement(parent, "properties")
    for name, value in values.items():
        if value:
            ElementTree.SubElement(holder, "property", name=name, value=visible(value))


def _test_case(case: ElementTree.Element, verdict: Verdict, mark: Mark) -> None:
    _properties(
        case,
        {
            "title": verdict.title,
            "level": verdict.level,
            "section": verdict.section,
            "requirements": ", ".join(verdict.requirements),
        },
    )
    facts = "\n".join(f"{name}: {said}" for name, said in _facts(verdict))
    if mark is SKIPPED:
        ElementTree.SubElement(case, "skipped", message=visible(verdict.reason))
    elif mark is not PASSED:
        kind = "failure" if mark.fails else "error" if mark is BROKEN else "skipped"
        message = verdict.excuse if mark in (EXCUSED, SURPRISE) else verdict.got or verdict.reason
        outcome = ElementTree.SubElement(
            case,
            kind,
            type=visible(verdict.level),
            message=visible(f"{verdict.level}: {mark.name}: {message}"),
        )
        outcome.text = facts
    if mark.finding:
        log = [f"reproduce: {visible(verdict.reproduce)}"] if verdict.reproduce else []
        log += wirelog.lines(verdict.transcript)
        ElementTree.SubElement(case, "system-out").text = "\n".join(log)


# --- a badge --------------------------------------------------------------------------------------


def badge(runs: Iterable[Run]) -> str:
    """What the endpoint of a shields.io badge answers: https://shields.io/badges/endpoint-badge."""
    total = _total(runs)
    judged = total.total() - total[SKIPPED]
    failing = sum(total[mark] for mark in MARKS if mark.fails)
    if failing:
        message, color = f"{failing} of {judged} failed", "red"
    elif total[BROKEN]:
        message, color = f"{total[BROKEN]} of {judged} not judged", "lightgrey"
    elif not judged:
        message, color = "nothing judged", "lightgrey"
    else:
        said = [
            counted(mark, total[mark])
            for mark in (PASSED, WARNING, EXCUSED)
            if total[mark] or mark is PASSED
        ]
        message, color = ", ".join(said), "brightgreen"
        if total[WARNING] or total[EXCUSED]:
            color = "yellow"
    content = {
        "schemaVersion": 1,
        "label": "PT conformance",
        "message": message,
        "color": color,
    }
    return json.dumps(content, indent=2) + "\n"


# --- all of them ----------------------------------------------------------------------------------


def _json_lines(runs: Iterable[Run]) -> str:
    return "".join(f"{line}\n" for line in as_json_lines(runs))


Renderer: TypeAlias = Callable[[Sequence[Run]], str]

FORMATS: Mapping[str, Renderer] = {
    "jsonl": _json_lines,
    "html": htmlreport.page,
    "junit": junit,
    "markdown": markdown,
    "text": text,
    "badge": badge,
}
"""The names of the formats, and what makes them."""

SUFFIXES: Mapping[str, str] = {
    ".jsonl": "jsonl",
    ".html": "html",
    ".xml": "junit",
    ".md": "markdown",
    ".txt": "text",
    ".json": "badge",
}
"""The format that the name of a file asks for."""


def render(runs: Sequence[Run], format: str) -> str:
    """The runs in a format; raises LookupError for one that is not in ``FORMATS``."""
    return FORMATS[format](runs)


def write(runs: Sequence[Run], path: Path, format: str) -> None:
    """Write a report; raises OSError, and LookupError for a format that there is not."""
    path.write_text(render(runs, format), encoding="utf-8", newline="\n")
