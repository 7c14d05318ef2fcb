"""Programs side by side: which columns and rows a matrix of several runs has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from attrs import define, field, frozen

from ptipc.conformance.runs import Mark, Run, area_of, in_order, level_rank, mark_of
from ptipc.conformance.verdicts import Verdict

__all__ = ["Column", "Comparison", "Group", "compare"]


@define
class Group:
    """What stands under one name in the head of the matrix: a program, in its editions."""

    name: str = ""
    runs: list[Run] = field(factory=list)
    verdicts: dict[str, dict[str, tuple[Verdict, Mark]]] = field(factory=dict)
    """By edition and case."""

    def takes(self, run: Run) -> bool:
        """Whether there is room for what another run judged."""
        same = (run.program, run.version) == (self.runs[0].program, self.runs[0].version)
        return same and not any(
            verdict.id in self.verdicts.get(verdict.dialect, {}) for verdict in run.verdicts
        )

    def take(self, run: Run) -> None:
        """Add what a run judged."""
        self.runs.append(run)
        for dialect in run.dialects:
            self.verdicts.setdefault(dialect, {})
        for verdict in run.verdicts:
            cases = self.verdicts.setdefault(verdict.dialect, {})
            cases[verdict.id] = (verdict, mark_of(verdict, run.strict))


@frozen(kw_only=True)
class Column:
    """A program in one edition."""

    number: int
    group: int
    """Which of the groups it belongs to."""
    program: str
    dialect: str
    slug: str
    """What stands for it in an address."""
    cells: Mapping[str, tuple[Verdict, Mark]] = field(repr=False)

    @property
    def name(self) -> str:
        """Program and edition."""
        return f"{self.program}, PT {self.dialect}"


@frozen(kw_only=True)
class Comparison:
    """The whole matrix."""

    groups: tuple[Group, ...]
    columns: tuple[Column, ...]
    areas: Mapping[str, tuple[Verdict, ...]]
    """The cases by area: a verdict of each, the last one, for what all of them have in common."""
    rows: Mapping[str, int]
    """The place of each case, counted through all areas."""

    def columns_in(self, group: int) -> list[Column]:
        """The columns of a group."""
        return [column for column in self.columns if column.group == group]

    def verdicts_on(self, case: str) -> list[tuple[Column, Verdict, Mark]]:
        """What each column has to say about a case."""
        return [(column, *column.cells[case]) for column in self.columns if case in column.cells]


def compare(runs: Iterable[Run]) -> Comparison:
    """Put programs side by side.

    The runs of one program come together, unless they judged the same.  A run that has judged
    nothing is left out.  If a program is there several times, its name tells how the runs differ.
    """
    groups = _groups(runs)
    columns = _columns(groups)
    areas = _cases(columns)
    ids = (case.id for cases in areas.values() for case in cases)
    return Comparison(
        groups=tuple(groups),
        columns=tuple(columns),
        areas=areas,
        rows={id: number for number, id in enumerate(ids)},
    )


def _groups(runs: Iterable[Run]) -> list[Group]:
    groups: list[Group] = []
    for run in in_order(runs):
        if not run.verdicts:
            continue
        group = next((group for group in groups if group.takes(run)), None)
        if group is None:
            groups.append(group := Group())
        group.take(run)
    for group in groups:
        group.name = _name(group, groups)
    return groups


def _name(group: Group, groups: Iterable[Group]) -> str:
    run = group.runs[0]
    same = [other for other in groups if other.runs[0].label == run.label]
    if len(same) == 1:
        return run.label
    for told in ("what", "time"):
        if len({getattr(other.runs[0], told) for other in same}) == len(same):
            return f"{run.label} ({getattr(run, told)})"
    return f"{run.label} ({next(i for i, other in enumerate(same, 1) if other is group)})"


def _columns(groups: Iterable[Group]) -> list[Column]:
    columns: list[Column] = []
    for number, group in enumerate(groups):
        for dialect, cells in sorted(group.verdicts.items()):
            slug = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{group.name}-PT-{dialect}").strip("-.")
            if any(column.slug == slug for column in columns):
                slug += f"-{len(columns)}"
            columns.append(
                Column(
                    number=len(columns),
                    group=number,
                    program=group.name,
                    dialect=dialect,
                    slug=slug,
                    cells=cells,
                )
            )
    return columns


def _cases(columns: Iterable[Column]) -> dict[str, tuple[Verdict, ...]]:
    known = {id: verdict for column in columns for id, (verdict, _) in column.cells.items()}
    areas: dict[str, list[Verdict]] = {}
    for id in sorted(known, key=lambda id: (area_of(id), level_rank(known[id].level), id)):
        areas.setdefault(area_of(id), []).append(known[id])
    return {area: tuple(cases) for area, cases in areas.items()}
