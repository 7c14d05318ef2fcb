"""``ptipc check``: is somebody else's program a good citizen?

Each verb (``client``, ``server``, ...) is a row of ``VERBS``; its module declares its arguments and
runs it.  What judges a transport process is here.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import importlib
import json
import os
import shlex
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

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
from ptipc.cli.parsing import DONE, FAILED, NOT_STARTED, Parser, UsageError
from ptipc.conformance import expectations
from ptipc.conformance.cases import Case
from ptipc.conformance.hosts import PLACEHOLDERS, host_cases
from ptipc.conformance.probing import CAPABILITIES, NotStarted, probe
from ptipc.conformance.programs import found_from_anywhere, name_of, version_of
from ptipc.conformance.runner import Runner, cases_for
from ptipc.conformance.runs import Run, visible
from ptipc.conformance.stage import Stage
from ptipc.conformance.wirelog import lines as wire_lines
from ptipc.core.codecs import Mode
from ptipc.core.dialects import PT1, Dialect, Role
from ptipc.core.escapes import Args
from ptipc.core.messages import StatusVersion
from ptipc.core.settings import parameter_for

__all__ = ["VERBS", "add_arguments", "main"]

VERBS = {
    "client": ("judge a client transport process", "ptipc.cli.check"),
    "server": ("judge a server transport process", "ptipc.cli.check"),
    "host": ("judge a program that starts transport processes", "ptipc.cli.check_host"),
    "adapter": ("judge an implementation in any language", "ptipc.cli.check_adapter"),
    "list": ("show what is checked, case by case: id, level, title", "ptipc.cli.check"),
}
"""What can be checked: in a word, in a sentence, and the module that does it.

The module has ``add_VERB_arguments(parser)`` and ``main_VERB(options)``; what stands behind ``--``
is in ``options.command_line``.
"""


class _Parser(Parser):
    """A parser that leaves what is behind ``--`` alone: it is the command of the program."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        words = list(sys.argv[1:] if args is None else args)
        at = words.index("--") if "--" in words else len(words)
        options, rest = super().parse_known_args(words[:at], namespace)
        if rest and at == len(words):
            self.error(f"{rest[0]}: the program has its place behind --")
        options.command_line = words[at + 1 :]
        return options, rest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.epilog = (
        "exit status: 0 every rule is kept, 1 one is not, 2 a wrong command line, 3 the program "
        "did not start, 4 no case is selected, 5 the tester itself failed"
    )
    verbs = parser.add_subparsers(
        dest="verb", metavar="WHAT", required=True, parser_class=_Parser, title="what to check"
    )
    for verb, (what, module) in VERBS.items():
        chosen = verbs.add_parser(verb, help=what, description=f"{what[0].upper()}{what[1:]}.")
        chosen.set_defaults(parser=chosen)
        getattr(importlib.import_module(module), f"add_{verb}_arguments")(chosen)


def main(options: argparse.Namespace) -> int:
    """Check, and return the exit status."""
    module = importlib.import_module(VERBS[options.verb][1])
    status: int = getattr(module, f"main_{options.verb}")(options)
    return status


# --- the list -------------------------------------------------------------------------------------


def add_list_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what ``ptipc check list`` takes."""
    parser.epilog = "What an adapter is asked is shown by 'ptipc fixtures list'."
    parser.add_argument(
        "subjects", metavar="client|server|host", nargs="*", help="about what (default: all)"
    )
    parser.add_argument(
        "--capabilities",
        action="store_true",
        help="instead, show what cases may need of a program, or else are skipped, and how many "
        "of them need it",
    )
    add_selection(parser, "all")
    parser.add_argument("--json", action="store_true", help="as JSON, with rule and section")


def main_list(options: argparse.Namespace) -> int:
    """Show the cases; raises UsageError."""
    editions = {each.version for each in dialects(options, ["all"])}
    for subject in options.subjects:
        if subject not in _SUBJECTS:
            raise UsageError(f"neither client nor server nor host: {subject}")
    found: list[Case] = []
    for subject in options.subjects or _SUBJECTS:
        cases = _SUBJECTS[subject](None, options.select, options.skip, options.level.upper())
        found += [case for case in cases if editions & set(case.dialects)]
    if not found:
        print("ptipc check: no case is selected", file=sys.stderr)
        return NOTHING_SELECTED
    if options.capabilities:
        _list_capabilities(found)
        return DONE
    if options.json:
        print(json.dumps([_listed(case) for case in found], indent=2, ensure_ascii=False))
        return DONE
    width = max(len(case.id) for case in found)
    for case in found:
        print(f"{case.id:<{width}}  {case.level:<7} {case.title}")
    print(f"\n{len(found)} cases", file=sys.stderr)
    return DONE


_SUBJECTS: Mapping[str, Callable[..., tuple[Case, ...]]] = {
    "client": partial(cases_for, Role.CLIENT),
    "server": partial(cases_for, Role.SERVER),
    "host": partial(host_cases, None),
}
"""About what there are cases, and which they are."""


def _list_capabilities(cases: Sequence[Case]) -> None:
    needed = Counter(need for case in cases for need in case.content.get("needs", ()))
    # What a host needs is something in its command that is filled in.
    said = {name: (name, meaning) for name, meaning in CAPABILITIES.items()}
    said |= {name: (f"{{{name}}}", meaning) for name, meaning in PLACEHOLDERS.items()}
    width = max(len(written) for written, _ in said.values())
    for name, (written, meaning) in said.items():
        if needed[name]:
            print(f"{written:<{width}}  {needed[name]:>3}  {meaning}")


def _listed(case: Case) -> dict[str, Any]:
    names = ("id", "title", "level", "rule", "section", "requirements", "dialects")
    return {name: getattr(case, name) for name in names}


# --- a transport process --------------------------------------------------------------------------


def add_client_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what ``ptipc check client`` and ``ptipc check server`` take."""
    parser.usage = f"{parser.prog} NAME[,NAME] [options] -- PROGRAM [ARGUMENT ...]"
    parser.description = (
        f"{parser.description} It is started many times, in an empty directory; so words of its "
        "command that name a file from here, with a separator in them (behind the first word a dot "
        "will do), are given to it as whole paths. Flags are left as they are."
    )
    parser.add_argument(
        "names", metavar="NAME[,NAME]", help="the transports to ask for; the first is examined"
    )
    add_selection(parser, "1")
    running = parser.add_argument_group("the program")
    running.add_argument(
        "--name",
        metavar="PROGRAM",
        help="what it is called in reports (default: as it says itself, or its file)",
    )
    running.add_argument(
        "--mode",
        choices=[mode.value for mode in Mode],
        default=Mode.SOCKS5.value,
        help="the mode to start it in, where a case is not about another (default: %(default)s)",
    )
    running.add_argument(
        "--require",
        metavar="CAPABILITY",
        action="append",
        default=[],
        help="what the transport is said to be capable of: a case that needs it is never skipped; "
        "may be repeated ('ptipc check list --capabilities' shows them)",
    )
    running.add_argument(
        "--args",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="what a connection of the transport needs, for the target of the tester; may be "
        "repeated, like the next two",
    )
    running.add_argument(
        "--option",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="an option of the transport, as a host would give it",
    )
    running.add_argument(
        "--env",
        metavar="NAME[=VALUE]",
        action="append",
        default=[],
        help="a variable for the program; without a value, ours",
    )
    running.add_argument(
        "--peer",
        metavar="COMMAND",
        help="the program at the other end of the transport (default: the same one)",
    )
    running.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        default=PATIENCE,
        help="how long the program may take for one thing (default: %(default)g)",
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


add_server_arguments = add_client_arguments


def main_client(options: argparse.Namespace) -> int:
    """Judge a client; raises UsageError."""
    return _judge(options, Role.CLIENT)


def main_server(options: argparse.Namespace) -> int:
    """Judge a server; raises UsageError."""
    return _judge(options, Role.SERVER)


def _judge(options: argparse.Namespace, role: Role) -> int:
    if not options.command_line:
        raise UsageError("no program: write it behind --, at the end: NAME -- PROGRAM")
    if options.timeout <= 0 or options.jobs <= 0:
        raise UsageError("--timeout and --jobs are more than 0")
    for name in options.require:
        if name not in CAPABILITIES:
            raise UsageError(f"no capability: {name}; they are {', '.join(CAPABILITIES)}")
    check = _Check(options=options, role=role, judgement=Judgement(options=options))
    return asyncio.run(check.run(dialects(options, ["1"])))


def _pairs(texts: Sequence[str]) -> list[tuple[str, str]]:
    pairs = []
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise UsageError(f"not KEY=VALUE: {text}")
        pairs.append((key, value))
    return pairs


def _environment(texts: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if equals or name in os.environ:
            found[name] = value if equals else os.environ[name]
    return found


@define(kw_only=True, eq=False)
class _Check:
    """One invocation of ``ptipc check client`` or ``server``.

    Raises UsageError if the options about the program make no sense.
    """

    options: argparse.Namespace
    role: Role
    judgement: Judgement
    _names: tuple[str, ...] = field(init=False)
    _args: Args = field(init=False)
    _given: dict[str, list[list[str]]] = field(init=False)
    _command: list[str] = field(init=False)
    _says: StatusVersion | None = field(default=None, init=False)
    _lacking: bool = field(default=False, init=False)
    _started: list[Dialect] = field(factory=list, init=False)
    _missed: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._names = tuple(name for name in self.options.names.split(",") if name)
        if not self._names:
            raise UsageError("which transport? None is named")
        self._command = found_from_anywhere(self.options.command_line)
        self._args = Args(_pairs(self.options.args))
        option = [list(pair) for pair in _pairs(self.options.option)]
        self._given = {self._names[0]: option} if option else {}

    async def run(self, editions: Sequence[Dialect]) -> int:
        """Check in each edition, report, and return the exit status."""
        began = time.monotonic()
        when = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        task = asyncio.current_task()
        assert task is not None
        with contextlib.suppress(NotImplementedError):
            # What we have started must not outlive us.
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        selected = 0
        for dialect in editions:
            cases = cases_for(
                self.role,
                dialect.version,
                self.options.select,
                self.judgement.unwanted,
                self.options.level.upper(),
            )
            selected += len(cases)
            if cases and not await self._check(dialect, cases):
                break
        if not selected:
            print("ptipc check: no case is selected", file=sys.stderr)
            return NOTHING_SELECTED
        if not self._started:
            return NOT_STARTED
        says, named = self._says, self.options.name
        status = self.judgement.finish(
            Run(
                program=named or (says.implementation if says else name_of(self._command)),
                version=says.version if says else await version_of(self._command),
                what=f"{self.role.value} {self.options.names}",
                command=self.options.command_line,
                dialects=[dialect.version for dialect in self._started],
                time=when,
                seconds=round(time.monotonic() - began, 3),
                ptipc=version(),
                fixtures=expectations.fixtures_version(),
            )
        )
        # With "all", a program that does not speak an edition is none the worse for it.
        missed = self._missed and "all" not in self.options.dialect
        if status == DONE and self._lacking and not self.options.update_expect:
            return FAILED
        return NOT_STARTED if missed and status == DONE else status

    async def _check(self, dialect: Dialect, cases: Sequence[Case]) -> bool:
        """Check in one edition; whether to go on with the next."""
        options = self.options
        mode = Mode(options.mode)
        if mode is not Mode.SOCKS5 and not parameter_for("mode", dialect, self.role, "flags"):
            print(f"ptipc check: {dialect} has no mode {options.mode}", file=sys.stderr)
            self._missed = True
            return True
        stage = Stage(
            command=self._command,
            transports=self._names,
            role=self.role,
            dialect=dialect,
            args=self._args,
            options=self._given,
            mode=mode,
            required=frozenset(options.require),
            extra=_environment(options.env),
            timeout=options.timeout,
        )
        peer = self._command
        if options.peer is not None:
            peer = found_from_anywhere(shlex.split(options.peer))
        try:
            try:
                self._says = await probe(stage, peer) or self._says
            except NotStarted as error:
                self._missed = True
                self._tell_not_started(dialect, error)
                return True
            self._started.append(dialect)
            self._tell_lacking(stage)
            self.judgement.planned += len(cases)
            self.judgement.expect(cases)
            runner = Runner(
                stage=stage,
                jobs=options.jobs,
                reproduce=lambda case: self._reproduction(case, dialect),
                on_verdict=self.judgement.add,
            )
            await runner.run(cases)
            return not runner.stopped
        finally:
            self.judgement.clear()
            await stage.close()

    def _reproduction(self, case: Case, dialect: Dialect) -> str:
        options = self.options
        words = ["ptipc", "check", self.role.value, options.names, "-v"]
        if dialect is not PT1:  # which is what is checked where nothing is said
            words += ["--dialect", dialect.version]
        if options.mode != Mode.SOCKS5.value:
            words += ["--mode", options.mode]
        for flag in ("args", "option", "env", "require"):
            words += [word for value in getattr(options, flag) for word in (f"--{flag}", value)]
        if options.peer is not None:
            words += ["--peer", options.peer]
        words += patience(options, PATIENCE)
        return shlex.join([*words, "--select", case.id, "--", *options.command_line])

    def _tell_lacking(self, stage: Stage) -> None:
        self._lacking |= bool(stage.lacking)
        for name in stage.lacking:
            said = f"in {stage.dialect} it shows nothing of what --require {name} says"
            print(f"ptipc check: {said}: {CAPABILITIES[name]}", file=sys.stderr)

    def _tell_not_started(self, dialect: Dialect, error: NotStarted) -> None:
        command = visible(shlex.join(self.options.command_line))
        print(f"ptipc check: {command} did not start in {dialect}:", file=sys.stderr)
        print(f"  {visible(error.reason)}", file=sys.stderr)
        if error.transcript.entries:
            letter = "C" if self.role is Role.CLIENT else "S"
            lines = f"VERSION, '{letter}METHOD {self._names[0]} ...' and {letter}METHODS DONE"
            hint = "" if self.options.verbose else "; -v shows the conversation"
            print(f"  a host waits for {visible(lines)}{hint}", file=sys.stderr)
        if self.options.verbose:
            for line in wire_lines(error.transcript):
                print(f"  {line}", file=sys.stderr)
