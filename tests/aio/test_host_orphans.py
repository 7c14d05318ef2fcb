"""When the host is killed: no transport process outlives it, and no guardian its process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ptipc.children import Child

from .hosting import end, nothing_left, program, running, session_of, wait_until

HOST = """
import asyncio, os, sys
from ptipc.aio import launch

async def main():
    async with launch(sys.argv[2:], client=["one"], guard=sys.argv[1] != "unguarded") as process:
        forked = 0
        if sys.argv[1] == "forking":
            forked = os.fork()
            if not forked:
                os.read(0, 1)
                os._exit(0)
        print(process.pid, forked, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@contextmanager
def host(how: str, *command: str) -> Iterator[tuple[subprocess.Popen[str], int, int]]:
    """A host in a process of its own, with the number of its transport process, and of its fork."""
    # Who is killed cannot take its state directory away.
    with (
        tempfile.TemporaryDirectory() as place,
        subprocess.Popen(
            [sys.executable, "-c", HOST, how, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "TMPDIR": place},
        ) as process,
    ):
        assert process.stdout is not None
        pid, forked = map(int, process.stdout.readline().split())
        try:
            yield process, pid, forked
        finally:
            process.kill()
            for each in session_of(pid):
                end(each)


@pytest.mark.parametrize("words", [("deaf",), ("deaf", "child"), ("honest",)])
@pytest.mark.parametrize("how", ["alone", "forking"])
def test_nothing_outlives_a_host_that_was_killed(how: str, words: tuple[str, ...]) -> None:
    """Not even what does not care for its stdin; and if a fork of the host lives on, nothing else.

    That fork is not to hold the pipes open.
    """
    with host(how, *program(*words)) as (process, pid, _):
        wait_until(lambda: len(session_of(pid)) == len(words) + 1)  # with the guardian
        process.kill()
        wait_until(lambda: session_of(pid) == [])


def test_nothing_outlives_a_host_that_was_killed_with_its_group() -> None:
    with host("alone", *program("deaf")) as (process, pid, _):
        os.killpg(process.pid, signal.SIGKILL)
        wait_until(lambda: session_of(pid) == [])


def test_without_a_guardian_there_is_still_stdin() -> None:
    with host("unguarded", *program("honest")) as (process, pid, _):
        assert running(f"ptipc-guardian {pid}") == []
        process.kill()
        wait_until(lambda: session_of(pid) == [])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_guardian_stays_at_its_post(number: signal.Signals) -> None:
    """Whoever asks everybody to end, the host may take its time."""
    with nothing_left() as pids:
        child = Child(program("deaf"), environ={})
        pids.append(child.pid)
        wait_until(lambda: running(f"ptipc-guardian {child.pid} "))
        (guardian,) = running(f"ptipc-guardian {child.pid} ")
        # Until it has set its traps a signal would end it.
        wait_until(lambda: _ignores(guardian, number))
        os.kill(guardian, number)
        assert running(f"ptipc-guardian {child.pid} ") == [guardian]
        child.kill()
        child.wait()
        child.reap()
        child.close()


def _ignores(pid: int, number: int) -> bool:
    with open(f"/proc/{pid}/status") as status:
        (mask,) = [int(line.split()[1], 16) for line in status if line.startswith("SigIgn")]
    return bool(mask & 1 << number - 1)


def test_a_guardian_goes_with_its_process() -> None:
    """Also if nobody has stopped the process: it ended by itself."""
    with nothing_left() as pids:
        child = Child(["/bin/true"], environ={})
        pids.append(child.pid)
        child.wait()
        assert child.reap() == 0
        assert running(f"ptipc-guardian {child.pid} ") == []
        child.close()
