"""``ptipc report``: the files of ``ptipc check``, read again as a page, a summary or a badge."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from attrs import evolve

from ptipc.conformance.report import FORMATS, SUFFIXES, render, write
from ptipc.conformance.runs import Run, read

__all__ = ["add_arguments", "main"]

NOT_READ = 1
USAGE = 2
NOTHING = 4
"""As with ``ptipc check``: there is nothing to tell, which must not look like success."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="JSON lines, as ptipc check --json writes them; the programs of several files are "
        "compared",
    )
    suffixes = ", ".join(f"{suffix} {format}" for suffix, format in SUFFIXES.items())
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help=f"where to write; its suffix says the format ({suffixes}). Without it, the report "
        "goes to standard output",
    )
    parser.add_argument(
        "--format",
        choices=list(FORMATS),
        help="html: one page with a matrix of programs by case; junit: for a CI server; markdown: "
        "for a page of CI; text: for a terminal (the default); badge: for shields.io; jsonl: all "
        "the files in one",
    )
    parser.add_argument("--strict", action="store_true", help="count a SHOULD like a MUST")


def main(options: argparse.Namespace) -> int:
    """Write the report; the exit status does not depend on the verdicts."""
    output: Path | None = options.output
    format = options.format or (SUFFIXES.get(output.suffix) if output else "text")
    if format is None:
        return _complain(f"what is {output}? Say it with --format", USAGE)
    try:
        runs = [run for path in options.files for run in read(path)]
    except (OSError, ValueError) as error:
        return _complain(str(error), NOT_READ)
    if not any(run.verdicts for run in runs):
        return _complain("there are no verdicts in the files", NOTHING)
    if options.strict:
        runs = [evolve(run, strict=True) for run in runs]
    if output is None:
        _say(render(runs, format))
        return 0
    try:
        write(runs, output, format)
    except OSError as error:
        return _complain(str(error), NOT_READ)
    _say(f"{_counted(runs)} in {output}\n")
    return 0


def _counted(runs: list[Run]) -> str:
    verdicts = sum(len(run.verdicts) for run in runs)
    programs = len({run.label for run in runs})
    return f"{verdicts} verdicts on {programs} program{'' if programs == 1 else 's'}"


def _say(text: str) -> None:
    """Print, even if the terminal has no character for a mark."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), end="")


def _complain(text: str, status: int) -> int:
    print(f"ptipc report: {text}", file=sys.stderr)
    return status
