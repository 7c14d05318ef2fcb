"""What the plugin for pytest needs of ``ptipc.conformance``: a judge for each program."""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from attrs import define, field

from ptipc.conformance import expectations
from ptipc.conformance.cases import KINDS, LEVELS, Case, load
from ptipc.conformance.expectations import Expectations
from ptipc.conformance.probing import NotStarted, probe
from ptipc.conformance.programs import found_from_anywhere
from ptipc.conformance.runner import Runner, cases_for
from ptipc.conformance.runs import visible
from ptipc.conformance.stage import Stage
from ptipc.conformance.verdicts import Outcome, Verdict
from ptipc.conformance.wirelog import lines as wire_lines
from ptipc.core.dialects import DIALECTS, PT1, Dialect, Role, dialect_for
from ptipc.core.escapes import NO_ARGS, Args

__all__ = ["Judge", "fixture_cases", "judges"]

Kind = Literal["pass", "skip", "xfail", "fail"]


def fixture_cases(*fixtures: str, dialect: str | None = None) -> list[Case]:
    """The cases of some files (``codec/client-args``) or directories of the fixtures.

    Those of one edition if that is given.
    """
    return [
        case
        for case in load(KINDS)
        if (case.fixture in fixtures or case.kind in fixtures)
        and (dialect is None or dialect in case.dialects)
    ]


def judges(programs: Sequence[tuple[str, str]], option: Any) -> list[Judge]:
    """A judge for each program and edition.

    Raises OSError or ValueError for what makes no sense, and if there is not a single case.
    """
    known = None if option.pt_expect is None else expectations.read(option.pt_expect)
    found = [
        _judge(role, text, dialect, option, known)
        for role, text in programs
        for dialect in _dialects(option.pt_dialect or ["1"])
    ]
    if not any(judge.cases for judge in found):
        raise ValueError("no conformance case is selected")
    return [judge for judge in found if judge.cases]


def _dialects(texts: Iterable[str]) -> list[Dialect]:
    named = [(text, dialect_for(text)) for text in texts]
    for text, dialect in named:
        if dialect is None:
            raise ValueError(f"not an edition: {text}")
    return [dialect for _, dialect in named if dialect is not None]


def _judge(role: str, text: str, named: Dialect, option: Any, known: Expectations | None) -> Judge:
    names, equals, command = text.partition("=")
    words = shlex.split(command)
    if not (names and equals and words):
        raise ValueError(f"not NAME=COMMAND: {text}")
    pairs = [pair.partition("=") for pair in option.pt_args]
    edition = next(each for each in DIALECTS if each.edition == named.edition)
    return Judge(
        role=Role(role),
        names=names.split(","),
        command=found_from_anywhere(words),
        dialect=edition,
        cases=cases_for(
            Role(role),
            edition.version,
            option.pt_select,
            [*option.pt_skip, *(known.skip if known else ())],
        ),
        args=Args([(key, value) for key, _, value in pairs]) if pairs else NO_ARGS,
        level=option.pt_level.upper(),
        timeout=option.pt_timeout,
        known=known,
    )


@define(kw_only=True, eq=False)
class Judge:
    """Plays the cases on one program in one edition, and has the verdicts."""

    role: Role
    names: Sequence[str]
    command: Sequence[str]
    dialect: Dialect
    cases: Sequence[Case]
    args: Args = NO_ARGS
    level: str = "MUST"
    """The least binding rules of which a breach counts."""
    timeout: float = 10.0
    known: Expectations | None = None
    _verdicts: dict[str, Verdict] = field(factory=dict, init=False)
    _failure: NotStarted | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        """The program and as what it is judged."""
        return f"{self.role.value}-{self.names[0]}-PT{self.dialect.version}"

    def case(self, id: str) -> Case:
        """A case by its id."""
        return next(case for case in self.cases if case.id == id)

    def verdict(self, id: str, together: Iterable[str]) -> Verdict | NotStarted:
        """The verdict on a case; those of some others are found out with it."""
        if self._failure is None and id not in self._verdicts:
            wanted = {id, *together} - set(self._verdicts)
            try:
                found = asyncio.run(self._play([case for case in self.cases if case.id in wanted]))
            except NotStarted as error:
                self._failure = error
            else:
                self._verdicts |= {verdict.id: verdict for verdict in found}
        return self._failure or self._verdicts[id]

    async def _play(self, cases: Sequence[Case]) -> list[Verdict]:
        stage = Stage(
            command=self.command,
            transports=self.names,
            role=self.role,
            dialect=self.dialect,
            args=self.args,
            timeout=self.timeout,
        )
        try:
            await probe(stage, self.command)
            runner = Runner(
                stage=stage, jobs=3 * (os.cpu_count() or 1), reproduce=self._reproduction
            )
            return await runner.run(cases)
        finally:
            await stage.close()

    def _reproduction(self, case: Case) -> str:
        words = ["ptipc", "check", self.role.value, ",".join(self.names)]
        if self.dialect is not PT1:
            words += ["--dialect", self.dialect.version]
        words += [word for key, value in self.args.pairs for word in ("--args", f"{key}={value}")]
        return shlex.join([*words, "--select", case.id, "--", *self.command])

    def judgement(self, verdict: Verdict | NotStarted) -> tuple[Kind, str]:
        """What a verdict means for a test, and why."""
        if isinstance(verdict, NotStarted):
            return "fail", _finding("it did not start", verdict.reason, verdict.transcript)
        known = verdict if self.known is None else self.known.applied(verdict)
        if verdict.outcome is Outcome.SKIPPED:
            return "skip", verdict.reason
        if verdict.outcome is Outcome.BROKEN:
            return "fail", f"the tester itself failed: {verdict.reason}"
        if verdict.outcome is Outcome.PASSED:
            text = f"it passes, but is expected to fail: {known.excuse}"
            return ("fail", text) if known.excuse else ("pass", "")
        if known.excuse:
            return "xfail", known.excuse
        if LEVELS.index(verdict.level) > LEVELS.index(self.level):
            return "xfail", f"{verdict.level}: {verdict.got}"
        return "fail", _finding(
            f"{verdict.level} {verdict.rule}",
            "\n".join(
                f"{name:<9} {visible(text)}"
                for name, text in (
                    ("sent", verdict.sent),
                    ("expected", verdict.expected),
                    ("got", verdict.got),
                    ("known", known.reason),
                    ("section", verdict.section),
                    ("reproduce", verdict.reproduce),
                )
                if text
            ),
            verdict.transcript,
        )


def _finding(head: str, body: str, transcript: Any) -> str:
    return "\n".join([head, body, "", *wire_lines(transcript)])
