"""For each rule that a transport may break there is a case that sees it.

The mutants are one program (``mutants/transport.py``) that breaks one rule at a time.  One that is
not caught would mean that a case is missing.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pytest

from ptipc.conformance.probing import NotStarted, probe
from ptipc.conformance.runner import Runner, cases_for
from ptipc.conformance.stage import Stage
from ptipc.conformance.verdicts import Outcome, Verdict
from ptipc.core.dialects import DIALECTS, Role
from tests.conformance.mutants.catalogue import MUTANTS, NOT_STARTED, Mutant

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="the transport is one of Unix"),
]

HERE = Path(__file__).parent / "mutants"
TOGETHER = 12
"""How many mutants are judged at a time; most of that time is waiting."""

PATIENCE = 4.0
"""How many seconds a mutant has for one thing; the sound transport has the usual ten."""

Judged = list[Verdict] | NotStarted

SOUND = [Mutant("", f"{role.value}.*") for role in Role] + [Mutant("", "client.*", "2")]
"""The transport that breaks no rule, in each role."""


async def judged(mutant: Mutant) -> Judged:
    """The verdicts that ``ptipc check`` would give."""
    stage = Stage(
        command=[sys.executable, "-I", "-S", str(HERE / "transport.py")],
        transports=["hello"],
        role=Role(mutant.role),
        dialect=next(each for each in DIALECTS if each.version == mutant.dialect),
        extra={"MUTANT": mutant.name} if mutant.name else {},
        required=frozenset(mutant.required),
        timeout=PATIENCE if mutant.name else 10.0,
    )
    wanted = [mutant.case]
    if not mutant.name:
        wanted = [each.case for each in MUTANTS if each.dialect == "2"]
    if not mutant.name and mutant.dialect == "1":
        wanted = []
    try:
        await probe(stage, stage.command)
        cases = cases_for(stage.role, mutant.dialect, wanted)
        if mutant.name:
            cases = tuple(case for case in cases if case.id == mutant.case)
        return await Runner(stage=stage, jobs=6).run(cases)
    except NotStarted as error:
        return error
    finally:
        await stage.close()


@pytest.fixture(scope="module")
def judgements(request: pytest.FixtureRequest) -> Mapping[Mutant, Judged]:
    """What became of each one whose test is to be run; those that take longest go first."""
    chosen: list[Mutant] = [
        cast(Mutant, item.callspec.params["mutant"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.path == request.path and "mutant" in item.name
    ]
    chosen.sort(key=lambda mutant: bool(mutant.name) and "timeout" not in mutant.case)

    async def judge(mutant: Mutant, turn: asyncio.Semaphore) -> Judged:
        async with turn:
            return await judged(mutant)

    async def all_of_them() -> list[Judged]:
        turn = asyncio.Semaphore(TOGETHER)
        return await asyncio.gather(*(judge(mutant, turn) for mutant in chosen))

    return dict(zip(chosen, asyncio.run(all_of_them()), strict=True))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_caught(mutant: Mutant, judgements: Mapping[Mutant, Judged]) -> None:
    found = judgements[mutant]
    if mutant.case == NOT_STARTED:
        assert isinstance(found, NotStarted)
    else:
        assert not isinstance(found, NotStarted), found.reason
        (verdict,) = found
        assert (verdict.id, verdict.outcome) == (mutant.case, Outcome.FAILED), verdict.reason


@pytest.mark.parametrize("mutant", SOUND, ids=lambda mutant: f"{mutant.role}-{mutant.dialect}")
def test_not_a_mutant_and_nothing_is_wrong_with_it(
    mutant: Mutant, judgements: Mapping[Mutant, Judged]
) -> None:
    """Otherwise it would prove nothing that a mutant fails: every case of PT 1, and some of 2."""
    found = judgements[mutant]
    assert not isinstance(found, NotStarted), found.reason
    bad = {Outcome.FAILED, Outcome.BROKEN}
    assert [(each.id, each.got, each.reason) for each in found if each.outcome in bad] == []
    played = {each.id for each in found if each.outcome is Outcome.PASSED}
    kin = [each for each in MUTANTS if (each.role, each.dialect) == (mutant.role, mutant.dialect)]
    assert {each.case for each in kin if each.case} <= played


def test_every_way_to_break_a_rule_is_tried() -> None:
    known = set()
    for path in HERE.glob("*.py"):
        known |= set(re.findall(r'broken\("([a-z0-9-]+)"\)', path.read_text("utf-8")))
    assert known <= {mutant.name for mutant in MUTANTS}
    assert len(MUTANTS) >= 40
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
