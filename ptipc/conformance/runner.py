"""Many cases, one program: which of them, in which order, several at a time, and the verdicts.

Cases with the same input and script are one situation: it is played once, and each of the cases
judges what happened.
"""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from attrs import define, field

from ptipc.conformance import live
from ptipc.conformance.cases import LEVELS, Case, load, select
from ptipc.conformance.checks import Judge, judge, verdict_of
from ptipc.conformance.play import can_share, play
from ptipc.conformance.probing import missing
from ptipc.conformance.stage import Stage
from ptipc.conformance.verdicts import Outcome, Transcript, Verdict
from ptipc.core.dialects import Role

__all__ = ["Runner", "cases_for"]

LONGEST = 300.0
"""How many seconds a case may take before it is our own fault."""


def cases_for(
    role: Role,
    dialect: str | None = None,
    wanted: Sequence[str] = (),
    unwanted: Sequence[str] = (),
    level: str = "INTEROP",
) -> tuple[Case, ...]:
    """The cases about transport processes of a role: those of ``process``, and ``wire`` live.

    ``level`` is the least binding one that is wanted; INTEROP counts as less than MAY.
    """
    found = [case for case in load(["process"]) if case.op == f"process/{role.value}"]
    if role is Role.CLIENT:
        found += live.live_cases(load(["wire"]))
    least = LEVELS.index(level)
    return select(
        (
            case
            for case in found
            if (dialect is None or dialect in case.dialects) and LEVELS.index(case.level) <= least
        ),
        wanted,
        unwanted,
    )


def _situation(case: Case) -> str:
    content = case.content
    parts = [content.get("input", {}), content["script"], sorted(content.get("needs", ()))]
    return json.dumps([*parts, can_share(case)], sort_keys=True)


def _patience(case: Case) -> float:
    """How long a case may have to wait, so that those that wait long can go first."""
    return sum(
        float(step.get("settle", 0)) + float(step.get("for", 0)) + float(step.get("within", 0))
        for step in case.content["script"]
    )


@define(kw_only=True, eq=False)
class Runner:
    """Plays cases on a stage that has been probed, and judges them."""

    stage: Stage
    jobs: int = 4
    reproduce: Callable[[Case], str] = lambda case: ""
    """The command that plays just one case."""
    play: Callable[..., Awaitable[Transcript]] = play
    judge: Judge = judge
    missing: Callable[[Case, Any], str | None] = missing
    on_verdict: Callable[[Verdict], bool] = lambda verdict: False
    """Called with each verdict as it is given; says whether to stop."""
    verdicts: list[Verdict] = field(factory=list, init=False)
    stopped: bool = field(default=False, init=False)
    """Whether it was told to stop."""

    async def run(self, cases: Iterable[Case]) -> list[Verdict]:
        """Play the cases and return the verdicts, in the order of the cases."""
        cases = list(cases)
        situations: dict[str, list[Case]] = {}
        for case in cases:
            reason = self.missing(case, self.stage)
            if reason is None:
                situations.setdefault(_situation(case), []).append(case)
            else:
                self._give(self._without(case, Outcome.SKIPPED, reason))
        waiting = sorted(situations.values(), key=lambda group: -_patience(group[0]))
        workers = [self._work(waiting) for _ in range(max(1, self.jobs))]
        async with asyncio.TaskGroup() as group:
            for worker in workers:
                group.create_task(worker)
        order = {case.id: at for at, case in enumerate(cases)}
        return sorted(self.verdicts, key=lambda verdict: order[verdict.id])

    async def _work(self, waiting: list[list[Case]]) -> None:
        while waiting and not self.stopped:
            for verdict in await self._situation(waiting.pop(0)):
                if not self.stopped:
                    self._give(verdict)

    async def _situation(self, cases: Sequence[Case]) -> list[Verdict]:
        verdicts = await self._judged(cases)
        if can_share(cases[0]) and any(each.outcome is Outcome.FAILED for each in verdicts):
            # What another case has left behind shall not be held against this one.
            verdicts = await self._judged(cases, fresh=True)
        return verdicts

    async def _judged(self, cases: Sequence[Case], fresh: bool = False) -> list[Verdict]:
        try:
            async with asyncio.timeout(LONGEST):
                transcript = await self.play(self.stage, cases[0], fresh=fresh)
            return [
                verdict_of(
                    case,
                    self.stage.dialect.version,
                    transcript,
                    self.reproduce(case),
                    self.judge,
                )
                for case in cases
            ]
        except Exception as error:
            words = traceback.format_exception_only(error)[-1].strip()
            where = traceback.extract_tb(error.__traceback__)[-1]
            reason = f"{words} ({where.filename.rpartition('/')[2]}, line {where.lineno})"
            return [self._without(case, Outcome.BROKEN, reason) for case in cases]

    def _without(self, case: Case, outcome: Outcome, reason: str) -> Verdict:
        return Verdict(
            id=case.id,
            title=case.title,
            level=case.level,
            rule=case.rule,
            section=case.section,
            requirements=case.requirements,
            dialect=self.stage.dialect.version,
            outcome=outcome,
            reason=reason,
            transcript=Transcript(),
            reproduce=self.reproduce(case),
        )

    def _give(self, verdict: Verdict) -> None:
        self.verdicts.append(verdict)
        self.stopped |= self.on_verdict(verdict)
