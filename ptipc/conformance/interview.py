"""Cases put to adapters: what is asked, what is answered, and the verdicts."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from attrs import evolve

from ptipc.conformance.adapter import Adapter, AdapterError, Implementation
from ptipc.conformance.cases import Case
from ptipc.conformance.questions import Question, canonical, complaint, questions
from ptipc.conformance.verdicts import Entry, Outcome, Transcript, Verdict
from ptipc.core.dialects import DIALECTS, Dialect

__all__ = ["KINDS", "STARTS", "applicable", "interview"]

KINDS = ("codec", "config", "wire", "session")
"""The kinds of cases that can be put to an implementation that is no process."""

STARTS = 3
"""How many times in a row an adapter may break down before it is given up."""

SHOWN = 2000
"""How many characters of a question or an answer a transcript has."""


def applicable(cases: Sequence[Case], implementation: Implementation) -> list[tuple[Case, Dialect]]:
    """What an implementation can be asked, edition by edition."""
    return [
        (case, dialect)
        for case in cases
        for dialect in DIALECTS
        if dialect.version in case.dialects
        and any(implementation.knows(question) for question in questions(case, dialect))
    ]


def interview(
    start: Callable[[], Adapter],
    first: Adapter,
    tasks: Sequence[tuple[Case, Dialect]],
    *,
    jobs: int = 1,
    reproduce: Callable[[Case], str] = lambda case: "",
) -> Generator[Verdict, None, None]:
    """The verdicts, in the order of the cases.

    ``first`` is an adapter that runs already, ``start`` makes more of them: for each further job,
    and where one breaks down.  All are ended.  Raises AdapterError if one breaks down again and
    again.
    """
    free: queue.SimpleQueue[_Interviewer] = queue.SimpleQueue()
    everybody = [_Interviewer(start, first if at == 0 else None) for at in range(max(1, jobs))]
    for one in everybody:
        free.put(one)

    def judged(case: Case, dialect: Dialect) -> Verdict:
        one = free.get()
        try:
            return evolve(one.judge(case, dialect), reproduce=reproduce(case))
        finally:
            free.put(one)

    pool = ThreadPoolExecutor(len(everybody))
    try:
        coming: list[Future[Verdict]] = [pool.submit(judged, *task) for task in tasks]
        for future in coming:
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)
        for one in everybody:
            one.close()


class _Interviewer:
    """Asks case by case; starts the adapter again if it has broken down."""

    def __init__(self, start: Callable[[], Adapter], running: Adapter | None) -> None:
        self._start = start
        self._adapter = running
        self._breakdowns = 0

    def judge(self, case: Case, dialect: Dialect) -> Verdict:
        began = time.monotonic()
        entries: list[Entry] = []

        def note(who: str, text: str, event: str) -> None:
            entries.append(
                Entry(
                    at=round(time.monotonic() - began, 4),
                    who=who,
                    channel="stdin" if who == "tester" else "stdout",
                    text=text if len(text) <= SHOWN else f"{text[:SHOWN]} ...",
                    event=event,
                )
            )

        def verdict(outcome: Outcome, **more: Any) -> Verdict:
            return Verdict(
                id=case.id,
                title=case.title,
                level=case.level,
                rule=case.rule,
                section=case.section,
                requirements=case.requirements,
                dialect=dialect.version,
                outcome=outcome,
                seconds=round(time.monotonic() - began, 4),
                transcript=Transcript(entries=tuple(entries)),
                **more,
            )

        unanswered = "the adapter does not have the operation"
        answered = False
        for question in questions(case, dialect):
            adapter = self._running()
            if not adapter.implementation.knows(question):
                continue
            told = canonical(question.as_json())
            note("tester", told, "line")
            try:
                answer = adapter.ask(question)
            except AdapterError as error:
                note("target", str(error), "broke")
                self._broke_down(error)
                return verdict(
                    Outcome.FAILED, sent=_shown(question), expected="an answer", got=str(error)
                )
            self._breakdowns = 0
            note("target", canonical(answer.as_json()), "line")
            if answer.skip is not None:
                unanswered = answer.skip
                continue
            answered = True
            if (found := complaint(question, answer)) is not None:
                return verdict(
                    Outcome.FAILED,
                    sent=_shown(question),
                    expected=found.expected,
                    got=found.got,
                )
        if answered:
            return verdict(Outcome.PASSED)
        return verdict(Outcome.SKIPPED, reason=unanswered)

    def _running(self) -> Adapter:
        if self._adapter is None:
            self._adapter = self._start()
        return self._adapter

    def _broke_down(self, error: AdapterError) -> None:
        if self._adapter is not None:
            self._adapter.kill()
        self.close()
        self._breakdowns += 1
        if self._breakdowns >= STARTS:
            raise AdapterError(f"it broke down {STARTS} times in a row; the last time {error}")

    def close(self) -> None:
        """End the adapter, if there is one."""
        if self._adapter is not None:
            self._adapter.close()
            self._adapter = None


_WAYS = {
    "back": "written again",
    "split": "octet by octet",
    "followed": "with more octets behind the end",
    "followed, split": "octet by octet, with more octets behind the end",
}


def _shown(question: Question) -> str:
    """A question in a few words, with the way in which it is asked."""
    asked = dict(question.as_json())
    op = asked.pop("op")
    del asked["dialect"]
    text = canonical(asked)
    text = text if len(text) <= 300 else f"{text[:300]} ..."
    way = f" ({_WAYS[question.way]})" if question.way else ""
    return f"{op} {text}{way}"
