"""One page for many programs: a matrix of programs by case, and what happened, cell by cell.

The page is one file that asks the network for nothing.  Each verdict's details stand in a
``noscript`` element of their own: without scripts they are part of the page; with scripts a browser
keeps them as text, which costs nothing until a cell is opened.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files

from ptipc.conformance import wirelog
from ptipc.conformance.cases import LEVELS
from ptipc.conformance.comparison import Column, Comparison, compare
from ptipc.conformance.runs import (
    BROKEN,
    MARKS,
    PASSED,
    SKIPPED,
    Mark,
    Run,
    counted,
    level_rank,
    visible,
)
from ptipc.conformance.verdicts import END, Entry, Verdict

__all__ = ["page"]

LOGS = 100_000
"""How many entries of logs the page may have before those of what passed are left out."""

LEVEL_MEANINGS = {
    "MUST": "a document demands it",
    "SHOULD": "a document recommends it",
    "MAY": "a document permits it",
    "INTEROP": "no document says it, but a real program needs it",
}


# --- the page -------------------------------------------------------------------------------------


def page(runs: Iterable[Run]) -> str:
    """The whole page."""
    runs = list(runs)
    matrix = compare(runs)
    entries = sum(len(verdict.transcript.entries) for run in runs for verdict in run.verdicts)
    style, script = _resource("report.css"), _resource("report.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    return "".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            '<meta name="color-scheme" content="light dark">\n',
            # Or else a browser asks the server of the page for one.
            '<link rel="icon" href="data:,">\n',
            "<title>Pluggable Transport conformance</title>\n",
            f"<style>{style}</style>\n</head>\n<body>\n",
            *_head(matrix),
            *_matrix(matrix),
            *_words(matrix, logs=entries <= LOGS),
            _PANEL,
            f"<script>{script}</script>\n</body>\n</html>\n",
        ]
    )


def _resource(name: str) -> str:
    return files("ptipc.conformance").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _e(text: str) -> str:
    """A text, in HTML or in a quoted attribute."""
    return html.escape(visible(text))


def _place(matrix: Comparison, case: str, column: Column) -> str:
    """The id of a verdict in the page: short, as there are thousands of links to it."""
    return f"v{matrix.rows[case]}-{column.number}"


def _tag(mark: Mark) -> str:
    return f'<b class="mark {mark.word}">{mark.word}</b>'


def _level(level: str) -> str:
    return f'<b class="level {_e(level)}">{_e(level)}</b>'


_PANEL = """\
<dialog id="panel" aria-labelledby="panel-title">
<div class="bar"><button type="button" id="earlier">← Previous <span>finding</span>
<kbd>p</kbd></button>
<button type="button" id="later">Next <span>finding</span> →
<kbd>n</kbd></button>
<button type="button" id="close">Close <kbd>Esc</kbd></button></div>
<div id="panel-body"></div>
</dialog>
<p id="said" role="status" class="unseen"></p>
"""

_EMPTY = '<p class="lead">Nothing was judged: there are no verdicts in the files.</p>\n'


# --- the summary ----------------------------------------------------------------------------------


def _head(matrix: Comparison) -> Iterator[str]:
    yield "<header>\n<h1>Pluggable Transport conformance</h1>\n"
    if not matrix.rows:
        yield f"{_EMPTY}</header>\n"
        return
    yield (
        f'<p class="lead">{_counted(len(matrix.groups), "program")}, '
        f"{_counted(len(matrix.rows), 'case')}. A case is one fact about how a pluggable transport "
        "and its host talk to each other; it was played against each program, in each edition of "
        "the specification that it is about.</p>\n"
    )
    yield from _summary(matrix)
    yield from _legend()
    yield from _provenance(matrix)
    yield "</header>\n"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _summary(matrix: Comparison) -> Iterator[str]:
    yield (
        '<p class="lead">How many cases each program passed, of those that apply to it:</p>\n'
        '<div class="wide"><table class="summary"><thead><tr><th scope=col>Program'
        "<th scope=col>Edition<th scope=col>In short"
    )
    yield "".join(f"<th scope=col>{level}" for level in LEVELS)
    yield "<th scope=col>skipped</thead>\n"
    for number, group in enumerate(matrix.groups):
        own = matrix.columns_in(number)
        yield "<tbody>"
        for index, column in enumerate(own):
            yield "<tr>"
            if index == 0:
                what = ", ".join(sorted({run.what for run in group.runs} - {""}))
                small = f"<small>{_e(what)}</small>" if what else ""
                yield f"<th scope=rowgroup rowspan={len(own)}>{_e(group.name)}{small}"
            yield f"<th scope=row>PT&nbsp;{_e(column.dialect)}"
            yield from _numbers(column, matrix.rows)
        yield "</tbody>\n"
    yield "</table></div>\n"


def _numbers(column: Column, rows: Mapping[str, int]) -> Iterator[str]:
    by_level: dict[str, Counter[Mark]] = {level: Counter() for level in LEVELS}
    for verdict, mark in column.cells.values():
        by_level.setdefault(verdict.level, Counter())[mark] += 1
    total = sum(by_level.values(), Counter[Mark]())
    worst = next((mark for mark in MARKS if total[mark] and mark.finding), None)
    if worst is None:
        yield f'<td><b class="short {PASSED.word}">no findings</b>'
    else:
        first = min(rows[id] for id, (_, mark) in column.cells.items() if mark is worst)
        yield (
            f'<td><a class="short {worst.word}" href="#v{first}-{column.number}">'
            f"{_e(counted(worst, total[worst]))}</a>"
        )
    for level in LEVELS:
        judged = by_level[level].total() - by_level[level][SKIPPED]
        passed = by_level[level][PASSED]
        some = ' class="some"' if passed < judged else ""
        yield f"<td{some}>{passed}<small>/{judged}</small>" if judged else "<td>"
    yield f"<td>{total[SKIPPED] or ''}"


def _legend() -> Iterator[str]:
    yield '<details class="legend" open><summary>What the marks and levels mean</summary>\n<dl>'
    for mark in MARKS:
        yield f"<div><dt>{_tag(mark)}<dd>{_e(mark.meaning)}</div>\n"
    yield "<div><dt>blank<dd>the case is not about that edition, or was not played</div></dl>\n<dl>"
    for level, meaning in LEVEL_MEANINGS.items():
        yield f"<div><dt>{_level(level)}<dd>{meaning}</div>\n"
    yield "</dl></details>\n"


def _provenance(matrix: Comparison) -> Iterator[str]:
    yield (
        '<details class="runs"><summary>How this was found out</summary>\n<div class="wide"><table>'
        "<thead><tr><th scope=col>Program<th scope=col>Judged as<th scope=col>Command"
        "<th scope=col>Began<th scope=col>Took<th scope=col>ptipc<th scope=col>Fixtures</thead>\n"
    )
    for run in (run for group in matrix.groups for run in group.runs):
        what = run.what + (", strictly" if run.strict else "")
        yield (
            f"<tr><th scope=row>{_e(run.label)}<td>{_e(what)}<td><code>"
            f"{_e(' '.join(run.command))}</code><td>{_e(run.time)}<td>{run.seconds:.1f}&nbsp;s"
            f"<td>{_e(run.ptipc)}<td>{_e(run.fixtures)}\n"
        )
    yield "</table></div></details>\n"


# --- the matrix -----------------------------------------------------------------------------------


def _matrix(matrix: Comparison) -> Iterator[str]:
    if not matrix.rows:
        return
    yield '<main>\n<h2 id="matrix-title">Programs by case</h2>\n'
    yield from _filters(matrix)
    yield (
        '<div class="matrix"><table id="matrix" aria-labelledby="matrix-title"><thead>\n'
        "<tr><th rowspan=2 scope=col>Case"
    )
    for index, group in enumerate(matrix.groups):
        yield (
            f'<th colspan={len(group.verdicts)} scope=colgroup data-program="{index}">'
            f"<span>{_e(group.name)}</span>"
        )
    yield "<tr>"
    for column in matrix.columns:
        yield (
            f'<th scope=col data-program="{column.group}" data-slug="{_e(column.slug)}" '
            f'data-name="{_e(column.name)}">'
            f"<small>PT</small> {_e(column.dialect)}"
        )
    yield "</thead>\n"
    first = {column.group: column.number for column in reversed(matrix.columns)}
    for area, cases in matrix.areas.items():
        count = _counted(len(cases), "case")
        yield (
            f"<tbody><tr><th class=area scope=rowgroup colspan={len(matrix.columns) + 1}>"
            f"<span>{_e(area)} <small>{count}</small></span>\n"
        )
        for case in cases:
            yield (
                f'<tr data-level="{_e(case.level)}"><th scope=row><a href="#{_e(case.id)}">'
                f"{_e(case.title)} <small>{_e(case.id)}</small></a>{_level(case.level)}"
            )
            for column in matrix.columns:
                edge = " g" if column.number == first[column.group] else ""
                cell = column.cells.get(case.id)
                if cell is None:
                    yield f'<td class="none{edge}">'
                    continue
                mark = cell[1]
                kind = f'"{mark.word}{edge}"' if edge else mark.word
                yield f"<td class={kind}><a href=#{_place(matrix, case.id, column)}>{mark.word}</a>"
            yield "\n"
        yield "</tbody>"
    yield "</table></div>\n</main>\n"


def _filters(matrix: Comparison) -> Iterator[str]:
    """They are hidden until the script that makes them work is there."""
    levels = Counter(case.level for cases in matrix.areas.values() for case in cases)
    marks = Counter(mark for column in matrix.columns for _, mark in column.cells.values())
    yield '<form id="filters" hidden>\n<label class="search">Search <kbd>/</kbd> <input '
    yield 'type="search" id="search" autocomplete="off" placeholder="words of a rule, or an id">'
    yield "</label>\n"
    if len(matrix.groups) > 1:
        yield '<label>Program <select id="program"><option value="">all</option>'
        for index, group in enumerate(matrix.groups):
            yield f"<option value={index}>{_e(group.name)}</option>"
        yield "</select></label>\n"
    yield "<fieldset><legend>Level</legend>"
    for level in sorted(levels, key=level_rank):
        yield _box("level", level, f"{_level(level)} <small>{levels[level]}</small>")
    yield "</fieldset>\n<fieldset><legend>Outcome</legend>"
    for mark in MARKS:
        if marks[mark]:
            yield _box("outcome", mark.word, f"{_tag(mark)} <small>{marks[mark]}</small>")
    yield (
        "</fieldset>\n"
        '<p><button type="button" id="findings" aria-pressed="false">Findings only</button> '
        '<button type="reset">Show all</button> <output id="shown"></output></p>\n'
        '<p class="hint">In the matrix: arrow keys move, <kbd>Enter</kbd> opens, <kbd>Esc</kbd> '
        "closes, <kbd>Home</kbd> and <kbd>End</kbd> go along the row, with <kbd>Ctrl</kbd> to the "
        "corners.</p>\n</form>\n"
    )


def _box(name: str, value: str, label: str) -> str:
    return (
        f'<label><input type="checkbox" name="{name}" value="{_e(value)}" checked> {label}</label>'
    )


# --- every case in words --------------------------------------------------------------------------


def _words(matrix: Comparison, logs: bool) -> Iterator[str]:
    """``logs``: with the log of every verdict; otherwise, of those that tell something."""
    if not matrix.rows:
        return
    yield '<section id="words">\n<h2>Every case in words</h2>\n'
    for area, cases in matrix.areas.items():
        findings = sum(mark.finding for case in cases for *_, mark in matrix.verdicts_on(case.id))
        told = f", {_counted(findings, 'finding')}" if findings else ""
        yield (
            f"<details><summary><h3>{_e(area)}</h3> "
            f"<small>{_counted(len(cases), 'case')}{told}</small></summary>\n"
        )
        for case in cases:
            yield from _case(matrix, case, logs)
        yield "</details>\n"
    yield "</section>\n"


def _case(matrix: Comparison, case: Verdict, logs: bool) -> Iterator[str]:
    cells = matrix.verdicts_on(case.id)
    clean = "" if any(mark.finding for _, _, mark in cells) else ' class="clean"'
    requirements = "".join(f" <code>{_e(name)}</code>" for name in case.requirements)
    yield (
        f'<article id="{_e(case.id)}"{clean}><h4>{_e(case.title)}</h4>\n'
        f'<p class="id">{_level(case.level)} <a href="#{_e(case.id)}"><code>{_e(case.id)}</code>'
        f'</a></p>\n<div class="about"><p class="rule">{_e(case.rule)}</p>\n'
        f'<p class="source">{_e(case.section)}'
        f"{f' · requirements:{requirements}' if requirements else ''}</p></div>\n"
        '<ul class="results">'
    )
    same: dict[tuple[int, str, str, str], dict[str, list[str]]] = {}
    for column, verdict, mark in cells:
        got, expected = (verdict.got, verdict.expected) if mark.finding else ("", "")
        told = (MARKS.index(mark), got, expected, verdict.reason or verdict.excuse)
        same.setdefault(told, {}).setdefault(column.program, []).append(column.dialect)
    for (rank, got, expected, reason), programs in sorted(same.items(), key=lambda each: each[0]):
        places = (f"{program} in PT {', '.join(found)}" for program, found in programs.items())
        yield f"<li>{_tag(MARKS[rank])} {_e('; '.join(places))}"
        for name, said in (("got", got), ("expected", expected), ("because", reason)):
            if said:
                yield f"<br><i>{name}</i> {_e(said)}"
    yield "</ul>\n"
    for column, verdict, mark in cells:
        id = _place(matrix, case.id, column)
        yield f"<noscript id=for-{id}>"
        yield from _details(id, column, verdict, mark, log=logs or mark.finding)
        yield "</noscript>\n"
    yield "</article>\n"


def _details(id: str, column: Column, verdict: Verdict, mark: Mark, log: bool) -> Iterator[str]:
    yield (
        f"<details><summary>{_tag(mark)} {_e(column.name)}</summary>\n"
        # A browser unfolds what is around the target of a link, but not the target itself.
        f"<dl id={id}>"
    )
    known = "Expected to fail" if verdict.excuse else ""
    for name, said in (
        ("Sent", verdict.sent),
        ("Expected", verdict.expected),
        ("Got", verdict.got),
        ("Because" if mark in (SKIPPED, BROKEN) else "Remark", verdict.reason),
        (known, verdict.excuse),
        ("Breaks", ", ".join(verdict.breaks)),
    ):
        if said:
            yield f'<div class="{name.split()[0].lower()}"><dt>{name}<dd>{_e(said)}</div>'
    yield "</dl>\n"
    if verdict.reproduce:
        yield f'<h5>To see it again</h5>\n<pre class="command">{_e(verdict.reproduce)}</pre>\n'
    if log:
        yield from _log(verdict)
    elif verdict.transcript.entries:
        yield "<p class=source>The log is left out here, as it passed and the page is long.</p>\n"
    yield "</details>"


def _log(verdict: Verdict) -> Iterator[str]:
    launch = wirelog.started_with(verdict.transcript.launch)
    if launch:
        command = "\n".join(launch)
        yield f"<h5>Started with</h5>\n<pre>{html.escape(command)}</pre>\n"
    if verdict.transcript.entries:
        yield f"<h5>What happened, in {verdict.seconds:.2f} s</h5>\n<ol class=log>"
        step = -1
        for entry in verdict.transcript.entries:
            if entry.step > step:
                step = entry.step
                yield f"<li class=step>step {step + 1}\n"
            yield _entry(entry)
        yield "</ol>\n"


def _entry(entry: Entry) -> str:
    about, kind = wirelog.what(entry), " class=octets" if wirelog.is_octets(entry) else ""
    if entry.channel == "script":
        about = "the tester cleans up" if entry.event == END else entry.event
    said = "\n".join(wirelog.shown(entry))
    text = f"<pre{kind}>{html.escape(said)}</pre>" if said else ""
    return (
        f'<li class="{_e(entry.who)}"><time>{entry.at:.3f}</time> <b>{_e(entry.who)}</b> '
        f"<span>{_e(about)}</span>{text}\n"
    )
