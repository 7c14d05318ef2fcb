"""How long it takes from a transport's start until it has said ``CMETHODS DONE``.

Usage: python -m benchmarks.startup --peer goptlib=/path/to/dummy-client [--peer NAME=COMMAND]

The floor is a Python that does nothing, from its start to its end.
"""

from __future__ import annotations

import os
import sys
import time

from benchmarks.peers import (
    ENVIRONMENT,
    Contender,
    Figure,
    compare,
    contenders,
    parser,
    started,
)

FLOOR = "bare Python"


def bare() -> dict[str, float]:
    """A Python that does nothing."""
    begun = time.perf_counter()
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", "pass"], ENVIRONMENT)
    _, _, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - begun
    return {"wall": wall * 1e3, "cpu": (usage.ru_utime + usage.ru_stime) * 1e3}


def main() -> None:
    chosen = parser(__doc__).parse_args()

    def measure(contender: Contender) -> dict[str, float]:
        if contender.command is None:
            return bare()
        with started(contender, chosen) as process:
            return {"wall": process.wall * 1e3, "cpu": process.cpu * 1e3}

    for contender in contenders(chosen, FLOOR):
        measure(contender)  # the first start writes the bytecode
    figures = [Figure("wall", "ms until ready"), Figure("cpu", "ms of CPU")]
    compare("Start", figures, measure, chosen, floor=FLOOR)


if __name__ == "__main__":
    main()
