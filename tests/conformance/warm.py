"""Python programs that start at once: forked from an interpreter that has imported what they need.

To start Python and import ptipc takes ten times as long as what a case does with a program, and an
example is started thousands of times.  This file is the program from which the others are forked;
``Nursery`` is the end of whoever wants them.  What it makes is a process like any other: with the
standard streams, the directory, the environment and the process group that it is given.
"""

from __future__ import annotations

import array
import asyncio
import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ptipc.conformance.process import Closing, Running, spawn

__all__ = ["Nursery"]

LONGEST = 1 << 16
"""How many octets a request has, at most."""

LAST = 1 << 16
"""No file descriptor is higher."""


# --- the end of those who want programs -----------------------------------------------------------


class Forked:
    """What stands for a process that somebody else has started: see asyncio.subprocess.Process."""

    def __init__(
        self,
        pid: int,
        told: asyncio.StreamReader,
        streams: Sequence[Any],
        pipes: Sequence[asyncio.BaseTransport],
    ) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdin: asyncio.StreamWriter | None
        self.stdout: asyncio.StreamReader | None
        self.stderr: asyncio.StreamReader | None
        self.stdin, self.stdout, self.stderr = streams
        self._told = told
        self._pipes = pipes

    async def wait(self) -> int:
        """Wait for its end, and return its exit status, or a negative signal."""
        if self.returncode is None:
            self.returncode = int(await self._told.readline())
        return self.returncode

    def close(self) -> None:
        """Close what it was read from and written to."""
        for pipe in self._pipes:
            pipe.close()


class Nursery:
    """Starts Python programs: use it as a context manager, and ``spawn`` like that of asyncio.

    ``modules`` are imported beforehand, in the environment ``environ``.  What is no command of this
    interpreter with a script is started in the ordinary way.
    """

    def __init__(self, *modules: str, environ: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._pid = os.posix_spawn(
                sys.executable,
                [sys.executable, __file__, str(theirs.fileno()), *modules],
                environ,
                file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), theirs.fileno())],
            )
        self._socket = ours

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        os.waitpid(self._pid, 0)

    async def spawn(
        self,
        program: str,
        *words: str,
        stdin: int,
        cwd: Path,
        env: Mapping[str, str],
        **more: Any,
    ) -> tuple[Running, Closing]:
        """Start a program."""
        plain = program != sys.executable or words[0].startswith("-")
        if plain or stdin != asyncio.subprocess.PIPE:
            return await spawn(program, *words, stdin=stdin, cwd=cwd, env=env, **more)
        request = json.dumps({"words": words, "cwd": str(cwd), "env": dict(env)}).encode()
        theirs, ours = zip(os.pipe(), *(os.pipe()[::-1] for _ in range(3)), strict=True)
        stdin_pipe, writer = await _writer(ours[0])
        readers = [await _reader(fd) for fd in ours[1:]]
        pipes = [stdin_pipe, *(pipe for pipe, _ in readers)]
        stdout, stderr, told = (reader for _, reader in readers)
        fds = array.array("i", theirs)
        self._socket.sendmsg([request], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        for fd in theirs:
            os.close(fd)
        forked = Forked(int(await told.readline()), told, (writer, stdout, stderr), pipes)
        return forked, forked


async def _reader(fd: int) -> tuple[asyncio.BaseTransport, asyncio.StreamReader]:
    reader = asyncio.StreamReader()
    pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb", 0)
    )
    return pipe, reader


async def _writer(fd: int) -> tuple[asyncio.BaseTransport, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.streams.FlowControlMixin(loop), os.fdopen(fd, "wb", 0)
    )
    return transport, asyncio.StreamWriter(transport, protocol, None, loop)


# --- the program from which they are forked -------------------------------------------------------


def serve(control: socket.socket) -> str | None:
    """Fork a process for each request; the path of the script in each of them, None at the end."""
    ended, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    children: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([control.fileno(), ended], [], [])
        if ended in ready:
            os.read(ended, 4096)
            for pid, status in iter(_reaped, None):
                _tell(children[pid], os.waitstatus_to_exitcode(status))
                os.close(children.pop(pid))
        if control.fileno() in ready:
            data, fds, _, _ = socket.recv_fds(control, LONGEST, 4)
            if not data:
                return None
            pid = os.fork()
            if not pid:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                control.detach()  # or else its end would close somebody else's
                return _become(json.loads(data), fds)
            with contextlib.suppress(OSError):
                os.setpgid(pid, pid)
            for fd in fds[:3]:
                os.close(fd)
            children[pid] = fds[3]
            _tell(fds[3], pid)


def _reaped() -> tuple[int, int] | None:
    with contextlib.suppress(ChildProcessError):
        pid, status = os.waitpid(-1, os.WNOHANG)
        return (pid, status) if pid else None
    return None


def _tell(fd: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(fd, b"%d\n" % number)


def _become(request: Mapping[str, Any], fds: Sequence[int]) -> str:
    os.setpgid(0, 0)
    for number in range(3):
        os.dup2(fds[number], number)
    os.closerange(3, LAST)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ |= request["env"]
    sys.argv[:] = request["words"]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    return sys.argv[0]


def _leave(status: int) -> NoReturn:
    """End as Python does, but do not clear up what is shared: it would be copied for that."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    for name in sys.argv[2:]:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # what all of them share need not be copied for being looked at
    script = serve(socket.socket(fileno=int(sys.argv[1])))
    if script is not None:
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as end:
            if end.code is None or isinstance(end.code, int):
                _leave(end.code or 0)
            raise
