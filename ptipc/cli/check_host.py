"""``ptipc check host``: judge a program that starts transport processes."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import os
import shlex
import signal
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

from attrs import define, field

from ptipc.cli.checking import (
    NOTHING_SELECTED,
    PATIENCE,
    Judgement,
    add_judging,
    add_reports,
    add_selection,
    dialects,
    patience,
    version,
)
from ptipc.cli.parsing import DONE, NOT_STARTED, UsageError
from ptipc.conformance import expectations
from ptipc.conformance.cases import Case
from ptipc.conformance.hostchecks import host_problem
from ptipc.conformance.hostplay import NotLaunched, play_host, try_host
from ptipc.conformance.hosts import (
    PLACEHOLDERS,
    HostStage,
    host_cases,
    missing_for_host,
    placeholders_in,
)
from ptipc.conformance.programs import name_of, version_of
from ptipc.conformance.runner import Runner
from ptipc.conformance.runs import Run, visible
from ptipc.conformance.wirelog import lines as wire_lines
from ptipc.core.dialects import Dialect, Role

__all__ = ["add_host_arguments", "main_host"]

WIDTH = 78


def add_host_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.usage = f"{parser.prog} [options] -- HOST [ARGUMENT ...]"
    parser.description = (
        "Judge a host: it is started with a transport process of ours, which plays a script. What "
        "stands in braces in its arguments, or in a --file, is filled in (see below); a line of a "
        "file, or an argument, for which a case has nothing is left out."
    )
    # The epilog is a table; argparse would make one paragraph of it.
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = textwrap.fill(parser.description, WIDTH)
    parser.epilog = "\n".join(["what stands in braces:", *_placeholders()])
    add_selection(parser, "1")
    running = parser.add_argument_group("the host")
    running.add_argument(
        "--role",
        choices=[role.value for role in Role],
        default=Role.CLIENT.value,
        help="what it starts: client or server transports (default: %(default)s)",
    )
    running.add_argument(
        "--name", default="foo", help="the name of the transport (default: %(default)s)"
    )
    running.add_argument(
        "--file",
        metavar="NAME=TEMPLATE",
        action="append",
        default=[],
        help="write a file into the directory of the host, filled in from a template",
    )
    running.add_argument(
        "--env",
        metavar="NAME[=VALUE]",
        action="append",
        default=[],
        help="a variable for the host; without a value, ours",
    )
    running.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        default=PATIENCE,
        help="how long the host may take for one thing (default: %(default)g)",
    )
    running.add_argument(
        "-j",
        "--jobs",
        metavar="N",
        type=int,
        default=3 * (os.cpu_count() or 1),
        help="how many cases to play at a time (default: %(default)s)",
    )
    add_judging(parser)
    add_reports(parser)


def _placeholders() -> Iterator[str]:
    for name, what in PLACEHOLDERS.items():
        head = f"  {{{name}}}"
        yield textwrap.fill(f"{head:<20} {what}", WIDTH, subsequent_indent=" " * 21)


def main_host(options: argparse.Namespace) -> int:
    """Judge a host, and return the exit status; raises UsageError."""
    if not options.command_line:
        raise UsageError("no host: write it behind --")
    if options.timeout <= 0 or options.jobs <= 0:
        raise UsageError("--timeout and --jobs are more than 0")
    check = _Check(options=options, judgement=Judgement(options=options))
    return asyncio.run(check.run(dialects(options, ["1"])))


def _files(texts: list[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not (name and equals) or Path(name).name != name:
            raise UsageError(f"not NAME=TEMPLATE: {text}")
        try:
            found[name] = Path(path).read_text("utf-8")
        except (OSError, ValueError) as error:
            raise UsageError(f"{path}: {error}") from None
    return found


def _environment(texts: list[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if equals or name in os.environ:
            found[name] = value if equals else os.environ[name]
    return found


@define(kw_only=True, eq=False)
class _Check:
    """One invocation of the command.  Raises UsageError if the templates make no sense."""

    options: argparse.Namespace
    judgement: Judgement
    _templates: dict[str, str] = field(init=False)
    _started: list[Dialect] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self._templates = _files(self.options.file)
        words = self.options.command_line
        found = {
            name for text in (*words, *self._templates.values()) for name in placeholders_in(text)
        }
        if not found & {"pt", "pt_command", "plan"}:
            raise UsageError("where is the transport process? Neither {pt} nor {plan} is there")
        for name in sorted(found - set(PLACEHOLDERS)):
            raise UsageError(f"{{{name}}} stands for nothing; see --help")

    async def run(self, editions: list[Dialect]) -> int:
        """Check in each edition, report, and return the exit status."""
        began = time.monotonic()
        when = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        task = asyncio.current_task()
        assert task is not None
        with contextlib.suppress(NotImplementedError):
            # What we have started must not outlive us.
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        options = self.options
        selected = 0
        for dialect in editions:
            cases = host_cases(
                options.role,
                dialect.version,
                options.select,
                self.judgement.unwanted,
                options.level.upper(),
            )
            selected += len(cases)
            if cases and not await self._check(dialect, cases):
                break
        if not selected:
            print("ptipc check: no case is selected", file=sys.stderr)
            return NOTHING_SELECTED
        if not self._started:
            return NOT_STARTED
        status = self.judgement.finish(
            Run(
                program=name_of(options.command_line),
                version=await version_of(options.command_line),
                what=f"host {options.role}",
                command=options.command_line,
                dialects=[dialect.version for dialect in self._started],
                time=when,
                seconds=round(time.monotonic() - began, 3),
                ptipc=version(),
                fixtures=expectations.fixtures_version(),
            )
        )
        missed = len(self._started) < len(editions) and "all" not in options.dialect
        return NOT_STARTED if missed and status == DONE and not options.stop else status

    async def _check(self, dialect: Dialect, cases: tuple[Case, ...]) -> bool:
        """Check in one edition; whether to go on with the next."""
        options = self.options
        stage = HostStage(
            command=options.command_line,
            transports=[options.name],
            role=Role(options.role),
            dialect=dialect,
            extra=_environment(options.env),
            timeout=options.timeout,
            files=self._templates,
        )
        try:
            try:
                await try_host(stage)
            except NotLaunched as error:
                self._tell_not_started(dialect, error)
                return True
            self._started.append(dialect)
            self.judgement.planned += len(cases)
            self.judgement.expect(cases)
            runner = Runner(
                stage=stage,
                jobs=options.jobs,
                reproduce=lambda case: self._command(case, dialect),
                play=play_host,
                judge=host_problem,
                missing=missing_for_host,
                on_verdict=self.judgement.add,
            )
            await runner.run(cases)
            return not runner.stopped
        finally:
            self.judgement.clear()
            await stage.close()

    def _command(self, case: Case, dialect: Dialect) -> str:
        options = self.options
        words = ["ptipc", "check", "host", "-v"]
        if options.dialect:
            words += ["--dialect", dialect.version]
        if options.role != "client":
            words += ["--role", options.role]
        if options.name != "foo":
            words += ["--name", options.name]
        for flag, values in (("--file", options.file), ("--env", options.env)):
            words += [word for value in values for word in (flag, value)]
        words += patience(options, PATIENCE)
        return shlex.join([*words, "--select", case.id, "--", *options.command_line])

    def _tell_not_started(self, dialect: Dialect, error: NotLaunched) -> None:
        command = visible(shlex.join(self.options.command_line))
        print(f"ptipc check: {command} started no transport in {dialect}:", file=sys.stderr)
        print(f"  {visible(error.reason)}", file=sys.stderr)
        if self.options.verbose:
            for line in wire_lines(error.transcript):
                print(f"  {line}", file=sys.stderr)
