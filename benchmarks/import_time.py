"""What ``import ptipc`` costs, beside what ``import attrs`` and a bare interpreter cost.

Usage: python benchmarks/import_time.py [rounds]

Prints medians of CPU time (user and system, of a process of its own).  The three take turns, so
that a busy moment of the machine meets all of them alike.
"""

from __future__ import annotations

import os
import statistics
import sys

PROGRAMS = {
    "bare interpreter": "pass",
    "import attrs": "import attrs",
    "import ptipc": "import ptipc",
}

ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if name != "PYTHONDONTWRITEBYTECODE"  # installed packages have their bytecode
}


def cpu_time(program: str) -> float:
    """Seconds of CPU that a fresh interpreter spends on a program."""
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", program], ENVIRONMENT)
    _, status, usage = os.wait4(pid, 0)
    if status != 0:
        raise SystemExit(f"failed: {program}")
    return usage.ru_utime + usage.ru_stime


def main(rounds: int) -> None:
    times: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for program in PROGRAMS.values():
        cpu_time(program)  # the first run writes the bytecode
    for _ in range(rounds):
        for name, program in PROGRAMS.items():
            times[name].append(cpu_time(program))
    bare, attrs, ours = (statistics.median(times[name]) * 1000 for name in PROGRAMS)
    print(f"bare interpreter  {bare:7.1f} ms")
    print(f"import attrs      {attrs:7.1f} ms  {attrs / bare:5.2f} x bare  {attrs - bare:+6.1f} ms")
    print(f"import ptipc      {ours:7.1f} ms  {ours / bare:5.2f} x bare  {ours - bare:+6.1f} ms")
    print(f"ptipc over attrs  {ours / attrs:7.2f} x   {ours - attrs:+6.1f} ms")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 31)
