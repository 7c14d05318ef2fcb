"""Transport programs as processes of their own, and a host that has nothing but pipes."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from attrs import define, field

from ptipc.core.codecs import Address
from ptipc.core.dialects import PT1, Dialect
from ptipc.core.launch import launch_config
from ptipc.core.messages import CMethod, SMethod, parse_line
from ptipc.osdep import CHILD_OPTIONS

DEADLINE = 20.0

HELLO = """
    from ptipc.aio import StreamTransport, run

    run(StreamTransport("hello", version="1.0"))
"""
"""The smallest transport program."""


def write_program(folder: Path, source: str = HELLO, name: str = "transport.py") -> list[str]:
    """Write a program down; returns the command that runs it."""
    path = folder / name
    path.write_text(textwrap.dedent(source))
    return [sys.executable, str(path)]


def clean_environment() -> dict[str, str]:
    """Our environment without any setting of the protocol."""
    return {name: text for name, text in os.environ.items() if not name.startswith("TOR_PT_")}


@define(eq=False)
class Running:
    """A transport process, and what it has said so far."""

    process: subprocess.Popen[bytes]
    dialect: Dialect
    lines: list[str] = field(factory=list)
    _waiting: queue.Queue[str | None] = field(factory=queue.Queue, init=False)
    _reader: threading.Thread | None = field(default=None, init=False)

    def read(self, output: IO[bytes]) -> None:
        """Start to listen."""

        def run() -> None:
            with contextlib.suppress(ValueError):  # it was closed
                for line in output:
                    self._waiting.put(line.decode().rstrip("\n"))
            self._waiting.put(None)

        self._reader = threading.Thread(target=run, daemon=True)
        self._reader.start()

    def until(self, text: str) -> str:
        """The next line that holds a text; there has to be one."""
        while True:
            line = self._waiting.get(timeout=DEADLINE)
            assert line is not None, f"it ended without {text!r}: {self.lines}"
            self.lines.append(line)
            if text in line:
                return line

    def rest(self) -> list[str]:
        """The lines up to the end of the output."""
        found = []
        while (line := self._waiting.get(timeout=DEADLINE)) is not None:
            found.append(line)
        self.lines += found
        return found

    def address(self) -> Address:
        """Where its first transport listens, once it is ready."""
        self.until("METHODS DONE")
        for line in self.lines:
            message = parse_line(line, self.dialect)
            if isinstance(message, CMethod | SMethod):
                return message.address
        raise AssertionError(f"no transport is up: {self.lines}")

    def end(self) -> int:
        """Its exit status, for which it has the usual time."""
        return self.process.wait(DEADLINE)

    def close_stdin(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()


@contextlib.contextmanager
def running(
    command: Sequence[str],
    *,
    dialect: Dialect = PT1,
    channel: Any = None,
    environ: Mapping[str, str] | None = None,
    stderr: Any = None,
    **settings: Any,
) -> Iterator[Running]:
    """Start a transport process the way a host does, for as long as the block lasts.

    ``settings`` are those of ``launch_config``; an ``environ`` is taken instead.
    """
    argv: tuple[str, ...] = ()
    if environ is None:
        invocation = launch_config(dialect=dialect, **settings).to_process(channel)
        environ, argv = invocation.environment(clean_environment()), invocation.argv
    process = subprocess.Popen(
        [*command, *argv],
        env=dict(environ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        **CHILD_OPTIONS,
    )
    try:
        program = Running(process, dialect)
        assert process.stdout is not None
        program.read(process.stdout)
        yield program
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def wait_for_the_end_of(pid: int) -> None:
    """Wait until a process that is not our child has ended."""
    pidfd = os.pidfd_open(pid)
    try:
        assert select.select([pidfd], [], [], DEADLINE)[0], f"{pid} is still there"
    finally:
        os.close(pidfd)
