"""Our own examples keep every rule that ``ptipc check`` knows, in every edition and mode.

They are forked from an interpreter that is warm (see ``warm``); that ``ptipc check`` finds the same
where each is started by itself is shown in ``test_check_command``.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import cast

import pytest
from attrs import frozen

import ptipc
from ptipc.conformance.cases import Case
from ptipc.conformance.probing import NotStarted, probe
from ptipc.conformance.runner import Runner, cases_for
from ptipc.conformance.stage import Stage
from ptipc.conformance.verdicts import Outcome, Verdict
from ptipc.core.codecs import Mode
from ptipc.core.dialects import DIALECTS, PT1, PT3_0, Dialect, Role
from ptipc.core.settings import parameter_for
from tests.conformance.warm import Nursery

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="there is no fork"),
]

EXAMPLES = Path(__file__).parents[2] / "examples"

MODULES = ("asyncio", "ptipc.aio", "ptipc.aio.program", "ptipc.blocking.program", "obfuscated")
"""What the examples import."""

TOGETHER = 6
"""How many examples are judged at a time; each of them is started many times at once."""

GOOD = (Outcome.PASSED, Outcome.SKIPPED)

DATAGRAMS = (Mode.TRANSPARENT_UDP, Mode.STUN)


@frozen
class Example:
    """One of the programs, and what its author claims."""

    file: str
    plain: bool = False
    """It changes nothing."""
    modes: tuple[Mode, ...] = tuple(Mode)

    @property
    def name(self) -> str:
        """How the transport is called."""
        return self.file.removeprefix("blocking_")


PROGRAMS = (
    Example("hello", plain=True),
    Example("blocking_hello", plain=True, modes=(Mode.SOCKS5, Mode.TRANSPARENT_TCP)),
    Example("obfuscated"),
    Example("nested"),
    Example("multiplex"),
    Example("several"),
    Example("polling"),
    Example("datagram", modes=DATAGRAMS),
)


@frozen
class Trial:
    """One example in one role, edition and mode."""

    example: Example
    role: Role
    dialect: Dialect
    mode: Mode

    def __str__(self) -> str:
        words = (self.example.file, self.role.value, self.dialect.version, self.mode.value)
        return "-".join(words)

    @property
    def required(self) -> frozenset[str]:
        """What the example is capable of."""
        claims = {"datagrams" if self.mode.datagrams else "relays"}
        if self.example.plain and not self.mode.datagrams:
            claims.add("plain")
        if self.mode is Mode.SOCKS5 and self.role is Role.CLIENT:
            claims |= {"socks5", "dials", "socks5-proxy", "socks4a-proxy", "http-proxy"}
        if self.dialect is PT3_0:
            claims |= {mode.value for mode in self.example.modes if mode is not Mode.SOCKS5}
        if self.role is Role.CLIENT and not self.example.plain and self.mode is Mode.SOCKS5:
            claims -= {mode.value for mode in Mode if mode is not Mode.SOCKS5}
        return frozenset(claims)

    def concerns(self, case: Case) -> bool:
        """Whether it is to be played: all are, but what is ours alone is so once for each example.

        What the library does by itself, the same whichever the transport is, is shown by those that
        change nothing, in every edition; and by the others in one.
        """
        once = PT1 if Mode.SOCKS5 in self.example.modes else PT3_0
        if self.mode is self.example.modes[0] and (self.example.plain or self.dialect is once):
            return True
        needs = {"relays", "datagrams", "dials", "plain", "grants", "takes-args"}
        return bool(needs.intersection(case.content.get("needs", ())))


def _trials() -> Iterator[Trial]:
    for example in PROGRAMS:
        for dialect in DIALECTS:
            for mode in example.modes:
                # What changes between editions is how a mode is asked for, and that is not theirs.
                each = example.plain or dialect is PT3_0
                known = each and parameter_for("mode", dialect, Role.CLIENT, "flags")
                if mode is Mode.SOCKS5 or known:
                    yield from (Trial(example, role, dialect, mode) for role in Role)


TRIALS = list(_trials())

Judged = tuple[Stage, list[Verdict]] | NotStarted


async def judged(trial: Trial, nursery: Nursery) -> Judged:
    """The verdicts that ``ptipc check`` would give."""
    stage = Stage(
        command=[sys.executable, str(EXAMPLES / f"{trial.example.file}.py")],
        transports=[trial.example.name],
        role=trial.role,
        dialect=trial.dialect,
        mode=trial.mode,
        required=trial.required,
        timeout=30.0,
        spawn=nursery.spawn,
    )
    try:
        await probe(stage, stage.command)
        cases = list(filter(trial.concerns, cases_for(trial.role, trial.dialect.version)))
        verdicts = await Runner(stage=stage, jobs=4).run(cases)
        # A machine with too much to do is no fault of the example: it may try once more, alone.
        bad = {each.id for each in verdicts if each.outcome not in GOOD}
        again = await Runner(stage=stage, jobs=1).run(case for case in cases if case.id in bad)
        return stage, [*(each for each in verdicts if each.id not in bad), *again]
    except NotStarted as error:
        return error
    finally:
        await stage.close()


@pytest.fixture(scope="module")
def judgements(request: pytest.FixtureRequest) -> Iterator[Mapping[Trial, Future[Judged]]]:
    """What becomes of each one whose test is to be run: they are judged while tests wait."""
    chosen = [
        cast(Trial, item.callspec.params["trial"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.path == request.path
    ]
    paths = [str(Path(ptipc.__file__).parents[1]), str(EXAMPLES)]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    environ.pop("PYTHONSAFEPATH", None)  # an example finds those beside it
    turn = asyncio.Semaphore(TOGETHER)

    async def judge(trial: Trial, nursery: Nursery) -> Judged:
        async with turn:
            return await judged(trial, nursery)

    async def end() -> None:
        ours = asyncio.current_task()
        left = [task for task in asyncio.all_tasks() if task is not ours]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    with Nursery(*MODULES, environ=environ) as nursery:
        try:
            yield {
                trial: asyncio.run_coroutine_threadsafe(judge(trial, nursery), loop)
                for trial in chosen
            }
        finally:
            asyncio.run_coroutine_threadsafe(end(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


@pytest.mark.parametrize("trial", TRIALS, ids=str)
def test_an_example_keeps_every_rule(
    trial: Trial, judgements: Mapping[Trial, Future[Judged]]
) -> None:
    """Those that should be kept, and those that real programs need, as well.

    What is skipped is what needs something that the example does not claim.
    """
    found = judgements[trial].result()
    assert not isinstance(found, NotStarted), found.reason
    stage, verdicts = found
    assert stage.lacking == ()
    assert [(each.id, each.got, each.reason) for each in verdicts if each.outcome not in GOOD] == []
    assert any(each.outcome is Outcome.PASSED for each in verdicts)
