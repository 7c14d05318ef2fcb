"""The walls of the house: what may import what, and what stands in which room.

The rules are functions over source text, so that each is also shown to find what it forbids.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

CHECKOUT = Path(__file__).parents[1]
PACKAGE = CHECKOUT / "ptipc"
LONGEST = 500

IMPURE = {
    "asyncio",
    "io",
    "logging",
    "os",
    "pathlib",
    "random",
    "secrets",
    "select",
    "signal",
    "socket",
    "subprocess",
    "sys",
    "threading",
    "time",
}
"""What the core may not import: it has no I/O, no clock, no randomness and no logging."""

FLOORS = {
    "core": 0,
    "doors": 0,
    "": 1,  # the front door, ptipc/__init__.py: it shows the core
    "osdep": 1,
    "pipes": 1,
    "sockets": 1,
    "children": 2,
    "dialers": 2,
    "logs": 2,
    "launching": 3,
    "voice": 2,
    "program": 3,
    "aio": 4,
    "blocking": 4,
    "conformance": 5,
    "testing": 5,
    "cli": 6,
    "__main__": 7,
}
"""How high a room is; imports go down, or stay in the room."""

NEIGHBOURS = {"conformance", "testing"}
"""Rooms on one floor that may know each other."""

Rule: TypeAlias = Callable[[str, str], list[str]]
"""From a module's name and its source to what is wrong with it."""


def imported(module: str, source: str) -> Iterator[str]:
    """The absolute names of what a module imports, wherever in it and however it does so."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=name, names=names, level=level):
                # The number of dots counts from the package; a package's own name ends in __init__.
                start = ".".join(module.split(".")[:-level]) if level else ""
                base = ".".join(part for part in (start, name) if part)
                yield from (f"{base}.{alias.name}" for alias in names)
            case ast.Call(
                func=ast.Name(id="__import__" | "import_module")
                | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield name


def room_of(name: str) -> str:
    """The room of an absolute name in ptipc; what is not in a room stands at the front door."""
    top = name.split(".")[1:2]
    return top[0] if top and top[0] in FLOORS else ""


def core_is_pure(module: str, source: str) -> list[str]:
    """The core imports itself, attrs and the pure standard library, and opens nothing."""
    if room_of(module) != "core":
        return []
    found = []
    for name in imported(module, source):
        top = name.split(".")[0]
        if top in IMPURE:
            found.append(f"imports {name}, which is no business of the core")
        elif top not in sys.stdlib_module_names and top not in ("attr", "attrs", "ptipc"):
            found.append(f"imports {name}, which is neither ours, nor attrs, nor Python's own")
    return found + [f"calls {name}()" for name in called(source) if name in ("open", "input")]


def imports_go_down(module: str, source: str) -> list[str]:
    """core; what both layers share; aio or blocking; testing and conformance; cli."""
    found = []
    for name in imported(module, source):
        if name.split(".")[0] != "ptipc":
            continue
        here, there = room_of(module), room_of(name)
        if here == there or {here, there} <= NEIGHBOURS or FLOORS[there] < FLOORS[here]:
            continue
        found.append(f"imports {name}: {here or 'the front door'} may not know {there or 'it'}")
    return found


def only_cli_prints(module: str, source: str) -> list[str]:
    """Standard output is the wire; only the command line prints."""
    if room_of(module) == "cli":
        return []
    return [f"calls {name}()" for name in called(source) if name == "print"]


def only_cli_imports_rich(module: str, source: str) -> list[str]:
    """Nobody else needs the extra."""
    if room_of(module) == "cli":
        return []
    return [f"imports {name}" for name in imported(module, source) if name.split(".")[0] == "rich"]


def facts_not_numbers(module: str, source: str) -> list[str]:
    """Code asks a dialect for a fact; only the dialects themselves compare editions."""
    if module == "ptipc.core.dialects":
        return []
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            text = ast.unparse(node)
            number = any(isinstance(part, ast.Constant) for part in ast.walk(node))
            if "dialect.edition" in text or ("dialect.version" in text and number):
                found.append(f"compares: {text}")
    return found


def called(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id


def names_say_something(module: str, source: str) -> list[str]:
    """A module is named after what is in it."""
    empty = {"utils", "util", "common", "helpers", "base", "misc"} & set(module.split("."))
    return [f"is called {name}" for name in sorted(empty)]


def files_are_short(module: str, source: str) -> list[str]:
    """A file past 500 lines has more than one topic."""
    lines = source.count("\n")
    return [f"has {lines} lines"] if lines > LONGEST else []


WALLS: list[Rule] = [
    core_is_pure,
    imports_go_down,
    only_cli_prints,
    only_cli_imports_rich,
    facts_not_numbers,
]
EVERYWHERE: list[Rule] = [names_say_something, files_are_short]


def sources(*folders: str) -> dict[str, str]:
    """Every module of the checkout below some folders, and its source."""
    return {
        ".".join(path.relative_to(CHECKOUT).with_suffix("").parts): path.read_text("utf-8")
        for folder in folders
        for path in sorted((CHECKOUT / folder).rglob("*.py"))
    }


@pytest.mark.parametrize("rule", WALLS, ids=lambda rule: rule.__name__)
def test_the_package_keeps_its_walls(rule: Rule) -> None:
    broken = [
        f"{name} {text}" for name, code in sources("ptipc").items() for text in rule(name, code)
    ]
    assert broken == []


@pytest.mark.parametrize("rule", EVERYWHERE, ids=lambda rule: rule.__name__)
def test_all_our_python_is_in_good_shape(rule: Rule) -> None:
    code = sources("ptipc", "tests", "examples", "benchmarks")
    assert [f"{name} {text}" for name, source in code.items() for text in rule(name, source)] == []


def test_every_module_of_the_core_has_tests_of_its_own() -> None:
    rooms = {path.stem for path in (PACKAGE / "core").glob("*.py")} - {"__init__"}
    tested = {
        path.stem.removeprefix("test_") for path in (CHECKOUT / "tests/core").glob("test_*.py")
    }
    assert rooms - tested == set()


def test_every_room_is_on_a_floor() -> None:
    rooms = {path.stem for path in PACKAGE.iterdir() if path.is_dir() or path.suffix == ".py"}
    assert rooms - set(FLOORS) <= {"__init__", "__pycache__"}


@pytest.mark.parametrize(
    ("rule", "module", "source"),
    [
        (core_is_pure, "ptipc.core.socks", "import asyncio"),
        (core_is_pure, "ptipc.core.socks", "import os.path"),
        (core_is_pure, "ptipc.core.socks", "from socket import AF_INET"),
        (core_is_pure, "ptipc.core.socks", "def late():\n    import time"),
        (core_is_pure, "ptipc.core.socks", "import importlib\nimportlib.import_module('sys')"),
        (core_is_pure, "ptipc.core.socks", "__import__('random')"),
        (core_is_pure, "ptipc.core.socks", "import hypothesis"),
        (core_is_pure, "ptipc.core.socks", "open('cookie')"),
        (core_is_pure, "ptipc.core.__init__", "import io"),
        (imports_go_down, "ptipc.core.socks", "from ptipc.osdep import guard_stdout"),
        (imports_go_down, "ptipc.core.socks", "from ptipc import Config"),
        (imports_go_down, "ptipc.core.socks", "from ..aio import streams"),
        (imports_go_down, "ptipc.core.__init__", "from ..aio import streams"),
        (imports_go_down, "ptipc.__init__", "from ptipc.aio import run"),
        (imports_go_down, "ptipc.__init__", "from . import aio"),
        (imports_go_down, "ptipc.osdep", "import ptipc.aio"),
        (imports_go_down, "ptipc.aio.host", "from ptipc import blocking"),
        (imports_go_down, "ptipc.osdep", "from ptipc.logs import elided"),
        (imports_go_down, "ptipc.blocking.host", "import ptipc.aio.host"),
        (imports_go_down, "ptipc.logs", "import ptipc.aio.host"),
        (imports_go_down, "ptipc.aio.host", "from ptipc.testing import fake_host"),
        (imports_go_down, "ptipc.conformance.runner", "from ptipc.cli import main"),
        (only_cli_prints, "ptipc.aio.host", "print('VERSION 1')"),
        (only_cli_imports_rich, "ptipc.conformance.report", "from rich.table import Table"),
        (facts_not_numbers, "ptipc.core.config", "if dialect.version == '2.2': pass"),
        (facts_not_numbers, "ptipc.core.config", "ok = self._dialect.edition >= 3"),
        (facts_not_numbers, "ptipc.core.config", "ok = dialect.version in ('1', '2')"),
        (facts_not_numbers, "ptipc.core.config", "ok = dialect.edition < PT2_2.edition"),
        (names_say_something, "ptipc.core.utils", ""),
        (names_say_something, "tests.helpers.__init__", ""),
        (files_are_short, "ptipc.core.socks", "\n" * 501),
    ],
)
def test_a_broken_wall_is_seen(rule: Rule, module: str, source: str) -> None:
    assert rule(module, source) != []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ptipc.core.socks", "import re\nfrom attrs import frozen\nfrom ptipc.core import errors"),
        ("ptipc.core.socks", "from . import errors\nfrom .errors import Refused"),
        ("ptipc.__init__", "from ptipc.core.errors import Refused as Refused"),
        ("ptipc.aio.host", "import asyncio\nfrom ptipc import Config, osdep"),
        ("ptipc.testing.plugin", "from ptipc.conformance import cases\nimport ptipc.blocking"),
        ("ptipc.conformance.runner", "from ptipc.testing import fake_host"),
        ("ptipc.cli.check", "import rich\nfrom ptipc import aio, logs\nprint(rich, aio, logs)"),
        ("ptipc.__main__", "from ptipc.cli.main import main"),
        ("ptipc.core.session", "if message.version != self.dialect.version: pass"),
    ],
)
def test_a_whole_wall_is_left_alone(module: str, source: str) -> None:
    assert [text for rule in WALLS + EVERYWHERE for text in rule(module, source)] == []
