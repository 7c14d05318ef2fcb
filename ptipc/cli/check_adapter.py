"""``ptipc check adapter``: judge an implementation, in any language, behind an adapter."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import shlex
import sys
import time

from ptipc.cli.checking import (
    NOTHING_SELECTED,
    Judgement,
    add_judging,
    add_reports,
    add_selection,
    dialects,
    patience,
    version,
)
from ptipc.cli.parsing import NOT_STARTED, UsageError
from ptipc.conformance.adapter import PATIENCE, Adapter, AdapterError
from ptipc.conformance.cases import LEVELS, Case, load, select
from ptipc.conformance.expectations import fixtures_version
from ptipc.conformance.interview import KINDS, applicable, interview
from ptipc.conformance.runs import Run, visible

__all__ = ["add_adapter_arguments", "main_adapter"]


_PROTOCOL = (
    "an adapter answers JSON with JSON, line by line, as the README of spec-fixtures says; "
    "'ptipc adapter' is one"
)


def add_adapter_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.usage = f"{parser.prog} [options] -- ADAPTER [ARGUMENT ...]"
    parser.description = f"{parser.description} {_PROTOCOL[0].upper()}{_PROTOCOL[1:]}."
    add_selection(parser, "all")
    asking = parser.add_argument_group("the adapter")
    asking.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        default=PATIENCE,
        help="how long an answer may take, but that to start (default: %(default)g)",
    )
    asking.add_argument(
        "-j",
        "--jobs",
        metavar="N",
        type=int,
        default=os.cpu_count() or 1,
        help="how many adapters to ask at a time (default: %(default)s)",
    )
    add_judging(parser)
    add_reports(parser)


def main_adapter(options: argparse.Namespace) -> int:
    """Judge, and return the exit status; raises UsageError."""
    editions = dialects(options, ["all"])
    judgement = Judgement(options=options)
    if not options.command_line:
        raise UsageError("no adapter: write it behind --, at the end")
    began = time.monotonic()
    when = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    try:
        adapter = Adapter(options.command_line, patience=options.timeout)
    except AdapterError as error:
        status = _gave_up(options, error)
        if not isinstance(error.__cause__, OSError):
            print(f"  {_PROTOCOL}", file=sys.stderr)
        return status
    implementation = adapter.implementation
    least = LEVELS.index(options.level.upper())
    cases = [
        case
        for case in select(load(KINDS), options.select, judgement.unwanted)
        if LEVELS.index(case.level) <= least
    ]
    tasks = [
        (case, edition)
        for case, edition in applicable(cases, implementation)
        if edition in editions
    ]
    if not tasks:
        adapter.close()
        print("ptipc check: no case is selected", file=sys.stderr)
        return NOTHING_SELECTED
    judgement.planned = len(tasks)
    judgement.expect(case for case, _ in tasks)

    def reproduce(case: Case) -> str:
        words = ["ptipc", "check", "adapter", "-v", *patience(options, PATIENCE)]
        words += [word for text in options.dialect for word in ("--dialect", text)]
        return shlex.join([*words, "--select", case.id, "--", *options.command_line])

    gave_up: AdapterError | None = None
    verdicts = interview(
        adapter.another, adapter, tasks, jobs=min(options.jobs, len(tasks)), reproduce=reproduce
    )
    with contextlib.closing(verdicts):
        try:
            for verdict in verdicts:
                if judgement.add(verdict):
                    break
        except AdapterError as error:
            gave_up = error
    judgement.clear()
    status = judgement.finish(
        Run(
            program=implementation.name,
            version=implementation.version,
            what="adapter",
            command=options.command_line,
            dialects=[edition.version for edition in editions],
            time=when,
            seconds=round(time.monotonic() - began, 3),
            ptipc=version(),
            fixtures=fixtures_version(),
        )
    )
    return status if gave_up is None else _gave_up(options, gave_up)


def _gave_up(options: argparse.Namespace, error: AdapterError) -> int:
    command = visible(shlex.join(options.command_line))
    print(f"ptipc check: {command}: {visible(str(error))}", file=sys.stderr)
    return NOT_STARTED
