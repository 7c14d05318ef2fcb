"""``ptipc fixtures``: the protocol by example, for the tests of any program."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from ptipc.cli.parsing import UsageError
from ptipc.conformance.cases import KINDS, LEVELS, Case, fixtures_directory, load, select
from ptipc.conformance.fixtures import copy, index_text
from ptipc.conformance.linting import lint
from ptipc.conformance.traceability import statements, states, table
from ptipc.core.dialects import DIALECTS

__all__ = ["add_arguments", "main"]

EDITIONS = [dialect.version for dialect in DIALECTS]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    chosen = actions.add_parser("list", help="the cases: id, level, editions, result, title")
    chosen.add_argument(
        "selector",
        nargs="*",
        help="a pattern of ids (address.*), or the beginning of one (address)",
    )
    _add_filters(chosen)
    chosen.add_argument("--level", choices=LEVELS, help="only cases of this level")
    chosen.add_argument("--json", action="store_true", help="print a JSON array of whole cases")
    chosen.set_defaults(do=_list)

    chosen = actions.add_parser("copy", help="copy the files, with schemas and README")
    chosen.add_argument("destination", metavar="DIR", type=Path, help="a directory, new or empty")
    _add_filters(chosen)
    chosen.set_defaults(do=_copy)

    chosen = actions.add_parser("lint", help="look for what is wrong with the files")
    _add_directory(chosen)
    chosen.set_defaults(do=_lint)

    chosen = actions.add_parser("coverage", help="which statements of the documents cases prove")
    chosen.add_argument(
        "--missing",
        action="store_true",
        help="list those that none proves, and those that need no proof, with the reason",
    )
    _add_directory(chosen)
    chosen.set_defaults(do=_coverage)

    chosen = actions.add_parser("index", help="write index.json anew")
    chosen.add_argument("--check", action="store_true", help="only say whether it is up to date")
    _add_directory(chosen)
    chosen.set_defaults(do=_index)


def _add_directory(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "directory", metavar="DIR", nargs="?", type=Path, help="the files (default: those of ptipc)"
    )


def _add_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dialect", action="append", choices=EDITIONS, default=[], help="only about this edition"
    )
    parser.add_argument(
        "--kind", action="append", choices=KINDS, default=[], help="only from this directory"
    )


def main(options: argparse.Namespace) -> int:
    """Do one of the actions; 1 if something is wrong, 4 if there is no case.  Raises UsageError."""
    try:
        return int(options.do(options))
    except BrokenPipeError:
        # Whoever reads has had enough; nothing more may be written, not even at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, LookupError, ValueError) as error:
        raise UsageError(str(error)) from None


def _list(options: argparse.Namespace) -> int:
    cases = [
        case
        for case in select(load(options.kind or KINDS), options.selector)
        if options.level in (None, case.level)
        and (not options.dialect or {*options.dialect} & {*case.dialects})
    ]
    if options.json:
        print(json.dumps([_whole(case) for case in cases], indent=2, ensure_ascii=False))
    else:
        for case in cases:
            editions = ",".join(case.dialects)
            print(f"{case.id:<44} {case.level:<7} {editions:<11} {case.result:<10} {case.title}")
    if not cases:
        print("ptipc fixtures: no case is selected", file=sys.stderr)
        return 4
    return 0


def _whole(case: Case) -> dict[str, object]:
    return {"fixture": case.fixture, **case.content}


def _copy(options: argparse.Namespace) -> int:
    names = copy(
        fixtures_directory(), options.destination, dialects=options.dialect, kinds=options.kind
    )
    print(f"{len(names)} files in {options.destination}")
    return 0


def _lint(options: argparse.Namespace) -> int:
    directory = options.directory or fixtures_directory()
    found = lint(directory)
    for each in found:
        print(each)
    count = f"{len(found)} finding{'' if len(found) == 1 else 's'}"
    print(count if found else f"nothing is wrong with {directory}")
    return 1 if found else 0


_LEGEND = """\
Statements of each edition, and of the documents beside them (as that of the
Extended ORPort), by how binding they are; DEF: they just say what there is.
yes: a case proves it; no: none does; exc: none does, for a reason (--missing)."""


def _coverage(options: argparse.Namespace) -> int:
    directory = options.directory or fixtures_directory()
    found = list(states(statements(directory), load(directory=directory)))
    print(table(found))
    print(f"\n{_LEGEND}")
    missing = [each for each in found if each.missing]
    if options.missing:
        for each in missing:
            print(f"missing   {each.edition:<7} {each.statement.level:<10} {each.statement.id}")
        for statement in dict.fromkeys(each.statement for each in found if each.excused):
            print(f"excused   {statement.id}: {statement.excuse}")
    return 1 if missing else 0


def _index(options: argparse.Namespace) -> int:
    directory = options.directory or fixtures_directory()
    path, text = directory / "index.json", index_text(directory)
    current = path.is_file() and path.read_bytes() == text.encode()
    if options.check:
        print(f"{path} is {'up to date' if current else 'old: run ptipc fixtures index'}")
        return 0 if current else 1
    if not current:
        path.write_bytes(text.encode())
    print(f"{path} {'was up to date' if current else 'was written'}")
    return 0
