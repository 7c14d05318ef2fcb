"""What the verbs of ``ptipc check`` have in common: what to check, known failures, and reports."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

from attrs import define, evolve, field

from ptipc.cli.parsing import DONE, FAILED, UsageError
from ptipc.conformance import expectations, report
from ptipc.conformance.cases import LEVELS, Case
from ptipc.conformance.expectations import Expectations
from ptipc.conformance.quirks import Quirk, known, quirks
from ptipc.conformance.runs import Run, mark_of
from ptipc.conformance.verdicts import Outcome, Verdict
from ptipc.conformance.wirelog import lines as wire_lines
from ptipc.core.dialects import DIALECTS, Dialect, dialect_for

__all__ = [
    "NOTHING_SELECTED",
    "OUR_FAULT",
    "PATIENCE",
    "Judgement",
    "add_judging",
    "add_reports",
    "add_selection",
    "dialects",
    "patience",
    "version",
]

NOTHING_SELECTED, OUR_FAULT = 4, 5
"""The exit statuses of ``ptipc check`` besides those of every command."""

PATIENCE = 10.0
"""How many seconds a program has for one thing, unless it is said."""

PAUSE = 5.0
"""How many seconds there are between two lines that tell how far it has come."""


def version() -> str:
    """The version of ptipc, as far as it is installed."""
    try:
        return metadata.version("ptipc")
    except metadata.PackageNotFoundError:
        return ""


# --- the command line -----------------------------------------------------------------------------


def add_selection(parser: argparse.ArgumentParser, default: str) -> None:
    """Which cases, in which editions; ``default`` are those when none is given."""
    parser.add_argument(
        "--select",
        metavar="PATTERN",
        action="append",
        default=[],
        help="only these cases: an id, the beginning of one up to a dot, or with * and ?",
    )
    parser.add_argument(
        "--skip",
        metavar="PATTERN",
        action="append",
        default=[],
        help="not these cases; both may be repeated",
    )
    parser.add_argument(
        "--level",
        choices=[level.lower() for level in LEVELS],
        default="interop",
        help="leave out the rules that bind less than this (default: interop, so none)",
    )
    parser.add_argument(
        "--dialect",
        metavar="VERSION",
        action="append",
        default=[],
        help=f"the edition: {', '.join(each.version for each in DIALECTS)}, or all; may be repeated"
        f" (default: {default})",
    )


def add_judging(parser: argparse.ArgumentParser) -> None:
    """What counts, and which failures are known."""
    judging = parser.add_argument_group("the judgement")
    judging.add_argument(
        "--strict",
        action="store_true",
        help="SHOULD counts as much as MUST; without it, only a MUST that is broken is a failure",
    )
    judging.add_argument(
        "-x", "--stop", action="store_true", help="stop at the first case that fails"
    )
    judging.add_argument(
        "--expect",
        metavar="FILE",
        type=Path,
        help="a list (TOML) of failures that are known: only others count, and those in it that "
        "have gone",
    )
    judging.add_argument(
        "--update-expect",
        action="store_true",
        help="write that list as the program is now; what it gives as reasons stays",
    )


def add_reports(parser: argparse.ArgumentParser) -> None:
    """Who is told of it, and how."""
    reports = parser.add_argument_group("reports")
    reports.add_argument(
        "--report",
        metavar="FILE",
        action="append",
        default=[],
        type=Path,
        help="write a report; the end of its name says which: "
        + ", ".join(f"{suffix} {format}" for suffix, format in report.SUFFIXES.items())
        + "; may be repeated",
    )
    for name, (_, what) in _FORMATS.items():
        reports.add_argument(f"--{name}", metavar="FILE", type=Path, help=what)
    reports.add_argument(
        "-v", "--verbose", action="store_true", help="show what was said and done in each finding"
    )
    reports.add_argument(
        "-q", "--quiet", action="store_true", help="show nothing but what is wrong"
    )


_FORMATS = {
    "json": ("jsonl", "JSON lines: every verdict with its transcript, for ptipc report"),
    "junit": ("junit", "XML for a CI server"),
    "markdown": ("markdown", "a summary for a page of CI"),
    "html": ("html", "a page to read in a browser, with every transcript"),
}
"""The reports with a flag of their own: the format, and what it is for."""


def dialects(options: argparse.Namespace, default: Sequence[str]) -> list[Dialect]:
    """The editions that were asked for; raises UsageError."""
    tokens = options.dialect or default
    if "all" in tokens:
        return list(DIALECTS)
    found = []
    for token in tokens:
        named = dialect_for(token)
        if named is None:
            raise UsageError(f"not an edition: {token}")
        found.append(next(each for each in DIALECTS if each.edition == named.edition))
    return found


def patience(options: argparse.Namespace, usual: float) -> list[str]:
    """The words that give a program as long as it has now, in a command that shows it again."""
    return [] if options.timeout == usual else ["--timeout", f"{options.timeout:g}"]


def _formats(options: argparse.Namespace) -> list[tuple[Path, str]]:
    found: list[tuple[Path, str]] = []
    for path in options.report:
        if path.suffix not in report.SUFFIXES:
            raise UsageError(f"{path}: a report ends in {', '.join(report.SUFFIXES)}")
        found.append((path, report.SUFFIXES[path.suffix]))
    for name, (format, _) in _FORMATS.items():
        if getattr(options, name) is not None:
            found.append((getattr(options, name), format))
    return found


def _known(options: argparse.Namespace) -> Expectations | None:
    if options.update_expect and options.expect is None:
        raise UsageError("--update-expect: in which file? Say --expect FILE")
    if options.expect is None or (options.update_expect and not options.expect.exists()):
        return None
    try:
        return expectations.read(options.expect)
    except (OSError, ValueError) as error:
        raise UsageError(str(error)) from None


# --- the judgement --------------------------------------------------------------------------------


@define(kw_only=True, eq=False)
class Judgement:
    """The verdicts on one program, as they come in.

    Raises UsageError if the options about known failures and reports, which ``add_judging`` and
    ``add_reports`` have declared, make no sense.
    """

    options: argparse.Namespace
    planned: int = 0
    """How many verdicts there will be."""
    verdicts: list[Verdict] = field(factory=list, init=False)
    _formats: list[tuple[Path, str]] = field(init=False)
    _known: Expectations | None = field(init=False)
    _newer: set[str] = field(factory=set, init=False)
    _quirks: tuple[Quirk, ...] = field(factory=quirks, init=False)
    _bad: int = field(default=0, init=False)
    _shown: float = field(factory=time.monotonic, init=False)

    def __attrs_post_init__(self) -> None:
        self._known = _known(self.options)
        self._formats = _formats(self.options)

    @property
    def unwanted(self) -> list[str]:
        """The patterns of the cases that are not to be played."""
        return [*self.options.skip, *(self._known.skip if self._known else ())]

    def expect(self, cases: Iterable[Case]) -> None:
        """Take note of the cases that will be judged."""
        if self._known is not None:
            self._newer |= {case.id for case in cases if self._known.is_newer(case)}

    def excused(self, verdict: Verdict) -> Verdict:
        """A verdict, with its excuse if the failure is known."""
        if self._known is None or self.options.update_expect:
            return verdict
        excused = self._known.applied(verdict)
        if verdict.id in self._newer and not excused.excuse and verdict.outcome is Outcome.FAILED:
            return evolve(excused, excuse="the case is newer than the list of what is expected")
        return excused

    def _named(self, verdict: Verdict, version: str) -> Verdict:
        """A verdict, with the quirk if this is one that is known of a version of the program."""
        if verdict.outcome is not Outcome.FAILED or verdict.reason:
            return verdict
        said = known(self._quirks, self.options.command_line, verdict.id, verdict.dialect, version)
        return evolve(verdict, reason=said)

    def add(self, verdict: Verdict) -> bool:
        """Take a verdict, show how far it has come, and return whether it is time to stop."""
        judged = self.excused(verdict)
        self.verdicts.append(judged)
        fails = mark_of(judged, self.options.strict).fails
        self._bad += fails
        if not self.options.quiet:
            self._show_progress(verdict.id)
        return fails and bool(self.options.stop)

    def _show_progress(self, id: str) -> None:
        """On a terminal one line that changes; elsewhere, as in the log of CI, one now and then."""
        done = f"{len(self.verdicts)}/{self.planned}  {self._bad} failed"
        if sys.stderr.isatty():
            print(f"\r\x1b[K{f'{done}  {id}'[:78]}", end="", file=sys.stderr, flush=True)
        elif time.monotonic() - self._shown >= PAUSE:
            self._shown = time.monotonic()
            print(f"ptipc check: {done}", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the line away that shows how far it has come."""
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def finish(self, run: Run) -> int:
        """Write the reports on a run, to which the verdicts are added; return the exit status."""
        options = self.options
        named = [self._named(verdict, run.version) for verdict in self.verdicts]
        run = evolve(run, strict=options.strict, verdicts=named)
        for path, format in self._formats:
            report.write([run], path, format)
        bad = any(mark_of(verdict, run.strict).fails for verdict in run.verdicts)
        if not options.quiet or bad:
            print(report.text([run]), end="")
        if options.verbose:
            _show_transcripts(run)
        if options.update_expect:
            text = expectations.updated(self._known, self.verdicts)
            options.expect.write_text(text, encoding="utf-8")
            return DONE
        if self._newer:
            print(f"{len(self._newer)} cases are newer than {options.expect}", file=sys.stderr)
        if bad:
            return FAILED
        broken = any(verdict.outcome is Outcome.BROKEN for verdict in run.verdicts)
        return OUR_FAULT if broken else DONE


def _show_transcripts(run: Run) -> None:
    for verdict in run.verdicts:
        if mark_of(verdict, run.strict).finding:
            print(f"\n{verdict.id} in PT {verdict.dialect}")
            for line in wire_lines(verdict.transcript):
                print(f"  {line}")
