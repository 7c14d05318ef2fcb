"""Transport processes that are measured against each other: started anew, and taking turns.

A benchmark measures every contender once per round, in an order that rotates, so that a busy moment
of the machine meets all of them alike.  What it prints are medians, and their ratios: the figures
themselves say as much about the machine as about the programs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from attrs import frozen

__all__ = [
    "CPU",
    "ENVIRONMENT",
    "LOAD",
    "Contender",
    "Figure",
    "compare",
    "contenders",
    "measured",
    "parser",
    "started",
]

HERE = Path(__file__).parent
OURS = f"{sys.executable} {HERE / 'dummy.py'}"

ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if name != "PYTHONDONTWRITEBYTECODE"  # installed packages have their bytecode
}


@frozen
class Contender:
    """A client transport; without a command there is none, and the load is on its own."""

    name: str
    command: str | None


@frozen
class Process:
    """A transport process that is ready."""

    pid: int
    address: str
    wall: float
    """Seconds from its start until it was ready."""
    cpu: float
    """Seconds of CPU that it spent on that."""


@frozen
class Figure:
    """Something that is measured."""

    key: str
    title: str
    compared: bool = True


def parser(text: str) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    summary = text.partition("\n")[0]
    options = argparse.ArgumentParser(description=summary)
    options.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="another client transport to measure; may be repeated",
    )
    options.add_argument("--transport", default="dummy", help="what the peers call their transport")
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument(
        "--cpus",
        default=_two_cpus(),
        metavar="PROXY,LOAD",
        help="the cores for the transport process and for the load (default: %(default)s)",
    )
    return options


def _two_cpus() -> str:
    cpus = sorted(os.sched_getaffinity(0))
    return f"{cpus[0]},{cpus[-1]}"


def contenders(options: argparse.Namespace, floor: str | None) -> list[Contender]:
    """Ours, the peers, and what there is without a transport."""
    found = [Contender("ptipc", OURS)]
    for peer in options.peer:
        name, _, command = peer.partition("=")
        found.append(Contender(name, command))
    return found if floor is None else [*found, Contender(floor, None)]


@contextlib.contextmanager
def started(contender: Contender, options: argparse.Namespace) -> Iterator[Process]:
    """A transport process, from its start until it has ended."""
    assert contender.command is not None
    words = shlex.split(contender.command)
    core = options.cpus.partition(",")[0]
    with tempfile.TemporaryDirectory() as state:
        host = {
            "TOR_PT_MANAGED_TRANSPORT_VER": "1",
            "TOR_PT_STATE_LOCATION": state,
            "TOR_PT_CLIENT_TRANSPORTS": options.transport,
            "TOR_PT_EXIT_ON_STDIN_CLOSE": "1",
        }
        begun = time.perf_counter()
        with subprocess.Popen(
            ["taskset", "-c", core, *words],
            env={**ENVIRONMENT, **host},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                address = _ready(contender, process)
                wall = time.perf_counter() - begun
                yield Process(process.pid, address, wall, cpu_seconds(process.pid))
            finally:
                assert process.stdin is not None
                process.stdin.close()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(3)
                process.kill()


def _ready(contender: Contender, process: subprocess.Popen[str]) -> str:
    """Where the transport listens, once it says that it does."""
    assert process.stdout is not None
    address = ""
    for line in process.stdout:
        match line.split():
            case ["CMETHOD", _, "socks5", address, *_]:
                pass
            case ["CMETHODS", "DONE"] if address:
                return address
            case [word, *_] if word.endswith("-ERROR"):
                break
    raise SystemExit(f"{contender.name} did not become ready: {contender.command}")


def cpu_seconds(pid: int) -> float:
    """Seconds of CPU that all threads of a process have had so far, also those that have ended."""
    return time.clock_gettime(~pid << 3 | 2)  # the kernel's number for its CPU clock


def load(
    kind: str, process: Process | None, options: argparse.Namespace, *words: object
) -> dict[str, float]:
    """Run the load through a process, or without one, and return what it measured.

    ``proxy_us`` is how many microseconds of CPU the process spent on each operation, ``load_busy``
    how many percent of its core the load itself had: near 100 it was the limit.
    """
    core = options.cpus.partition(",")[2] or options.cpus
    command = ["taskset", "-c", core, sys.executable, str(HERE / "load.py"), kind]
    if process is not None:
        command += ["--through", process.address, "--pid", str(process.pid)]
    command += [str(word) for word in words]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=120)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def measured(
    kind: str, contender: Contender, options: argparse.Namespace, *words: object
) -> dict[str, float]:
    """What the load measures with a contender that is started for it."""
    if contender.command is None:
        return load(kind, None, options, *words)
    with started(contender, options) as process:
        return load(kind, process, options, *words)


CPU = Figure("proxy_us", "us of its CPU for each")
LOAD = Figure("load_busy", "load busy %", compared=False)

Measure = Callable[[Contender], dict[str, float]]


def compare(
    title: str,
    figures: list[Figure],
    measure: Measure,
    options: argparse.Namespace,
    *,
    floor: str | None = "no transport",
) -> None:
    """Measure all contenders, in turns, and print a table."""
    names = contenders(options, floor)
    results: dict[str, list[dict[str, float]]] = {contender.name: [] for contender in names}
    for number in range(options.rounds):
        turn = number % len(names)
        for contender in names[turn:] + names[:turn]:
            results[contender.name].append(measure(contender))
    print(f"\n{title}; medians of {options.rounds} rounds (least .. most); ptipc's median / it\n")
    heads = [
        head for figure in figures for head in (figure.title, "ptipc / it")[: 1 + figure.compared]
    ]
    print("| | " + " | ".join(heads) + " |")
    print("|---" * (1 + len(heads)) + "|")
    for name, rows in results.items():
        cells = [cell for figure in figures for cell in _cells(figure, rows, results["ptipc"])]
        print(f"| {name} | " + " | ".join(cells) + " |")


def _cells(figure: Figure, rows: list[dict[str, float]], ours: list[dict[str, float]]) -> list[str]:
    values = [row[figure.key] for row in rows if figure.key in row]
    if not values:
        return ["", ""][: 1 + figure.compared]
    median = statistics.median(values)
    text = f"{median:.4g} ({min(values):.4g} .. {max(values):.4g})"
    if not figure.compared:
        return [text]
    return [text, f"{statistics.median(row[figure.key] for row in ours) / median:.2f}"]
