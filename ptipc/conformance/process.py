"""A program under test as a process: started exactly, heard to the end, and never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from ptipc.conformance.launching import Launch
from ptipc.conformance.recording import Recorder
from ptipc.core.dialects import Dialect, Role
from ptipc.core.errors import RemoteProtocolError
from ptipc.core.messages import CMethod, CMethodsDone, SMethod, SMethodsDone, parse_line
from ptipc.osdep import CHILD_OPTIONS, WINDOWS, exit_words, kill_group

__all__ = ["Closing", "Place", "Process", "Running", "Spawn", "spawn"]

PASSED_ON = (
    *("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
    *("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "RUST_BACKTRACE", "GOTRACEBACK", "GOCOVERDIR"),
    *("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "COVERAGE_PROCESS_START"),
    *("LLVM_PROFILE_FILE", "SYSTEMROOT", "PATHEXT", "COMSPEC"),
)
"""The variables of our own environment that a program gets to see."""

LINES = 5_000
"""How many lines of one process are written down; a flood tells nothing new."""
LINE = 8_192
"""How many octets of a line are written down."""

# It starts the program and waits for it, so that the program has a parent that can be killed.
_PARENT = (
    "import os, sys\n"
    "pid = os.fork()\n"
    "if not pid: os.execvp(sys.argv[1], sys.argv[1:])\n"
    "os.waitpid(pid, 0)\n"
)


class Running(Protocol):
    """What is asked of a process that was started: see ``asyncio.subprocess.Process``."""

    stdin: asyncio.StreamWriter | None
    stdout: asyncio.StreamReader | None
    stderr: asyncio.StreamReader | None

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    async def wait(self) -> int: ...


class Closing(Protocol):
    """What closes the pipes to a process."""

    def close(self) -> None: ...


Spawn: TypeAlias = Callable[..., Awaitable[tuple[Running, Closing]]]
"""What starts a process; it takes what ``asyncio.create_subprocess_exec`` takes."""


class Place:
    """The directories of one process, below one that is thrown away with everything in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = root / "state" / "pt"
        self.helper = root / "helper"
        for name in ("cwd", "home", "tmp", "helper", "state"):
            (root / name).mkdir()
        self._before = self._files()

    def prepare(self, state: str) -> None:
        """Make the state directory what a case wants: ``present``, ``missing`` or ``file``."""
        if state == "present":
            self.state.mkdir(mode=0o700)
        elif state == "file":
            self.state.write_text("this is a file\n")
        elif state == "missing":
            self.state = self.state / "deeply" / "hidden"
        else:
            raise ValueError(f"no kind of state directory: {state!r}")
        self._before = self._files()

    def environment(self) -> dict[str, str]:
        """The variables that every process has."""
        passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        own = {"HOME": self.root / "home", "TMPDIR": self.root / "tmp", "PWD": self.root / "cwd"}
        if WINDOWS:
            own |= {"TEMP": self.root / "tmp", "TMP": self.root / "tmp"}
            own |= {"USERPROFILE": self.root / "home"}
        return {**passed, **{name: str(path) for name, path in own.items()}}

    def _files(self) -> dict[str, tuple[int, int, int]]:
        found = {}
        for top in ("cwd", "home", "tmp", "state"):
            for path in sorted((self.root / top).rglob("*")):
                with contextlib.suppress(OSError):
                    stat = path.lstat()
                    size = 0 if path.is_dir() else stat.st_size
                    stamp = 0 if path.is_dir() else stat.st_mtime_ns
                    found[path.relative_to(self.root).as_posix()] = (stat.st_mode, size, stamp)
        return found

    def changes(self) -> list[tuple[str, int]]:
        """What was made or changed since the process was started: paths and modes."""
        return [
            (path, what[0])
            for path, what in self._files().items()
            if self._before.get(path) != what
        ]

    def holds(self, text: str) -> str | None:
        """The first file below the state directory in which a text occurs."""
        for path in sorted((self.root / "state").rglob("*")):
            with contextlib.suppress(OSError):
                if path.is_file() and text.encode() in path.read_bytes():
                    return path.relative_to(self.root).as_posix()
        return None


def _fresh(close_stdin: bool) -> None:
    """In the new process, before it becomes the program: no signal is ignored or blocked."""
    for number in signal.valid_signals():
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    if close_stdin:
        os.close(0)


async def spawn(*command: str, **options: Any) -> tuple[Running, Closing]:
    """What ``create_subprocess_exec`` starts, and with it the transport, for whoever closes it."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.subprocess_exec(
        lambda: asyncio.subprocess.SubprocessStreamProtocol(limit=1 << 16, loop=loop),
        *command,
        **options,
    )
    return asyncio.subprocess.Process(transport, protocol, loop), transport


async def _end_of(process: Running) -> int:
    """The exit status of a process; ``wait`` alone would wait for its outputs as well."""
    waiting = asyncio.create_task(process.wait())
    try:
        while process.returncode is None:
            await asyncio.wait([waiting], timeout=0.1)
    finally:
        waiting.cancel()
    return process.returncode


class Process:
    """A program that runs, or ran; what it says is written down as it comes."""

    def __init__(
        self, role: Role, dialect: Dialect, recorder: Recorder, spawn: Spawn = spawn
    ) -> None:
        self.recorder = recorder
        self.methods: dict[str, CMethod | SMethod] = {}
        """The transports that it says are up."""
        self.ready = asyncio.Event()
        """It has said DONE, or it has ended."""
        self.done = False
        """It has said DONE."""
        self.heard: list[str] = []
        """The lines that it has said, on either stream."""
        self.said = asyncio.Event()
        """Set with each of them; whoever waits for one clears it."""
        self.ended = asyncio.Event()
        """It has ended, and all it said has been heard."""
        self._role = role
        self._dialect = dialect
        self._spawn = spawn
        self._process: Running | None = None
        self._pipes: Closing | None = None
        self._orphan = False
        self._task: asyncio.Task[None] | None = None
        self._lines = 0

    # --- its life

    async def start(
        self, launch: Launch, place: Place, *, stdin: str = "open", parent: bool = False
    ) -> None:
        """Start it; with ``parent``, as the child of a process that can be killed.

        Raises OSError if there is no such program.
        """
        words = [*launch.command, *launch.argv]
        if parent:
            words = [sys.executable, "-I", "-S", "-c", _PARENT, *words]
        options: dict[str, Any] = dict(CHILD_OPTIONS)
        if not WINDOWS:
            options["preexec_fn"] = lambda: _fresh(stdin == "closed")
        starting = asyncio.ensure_future(
            self._spawn(
                *words,
                stdin=asyncio.subprocess.DEVNULL if stdin == "null" else asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=place.root / "cwd",
                env={**place.environment(), **launch.extra, **launch.set},
                **options,
            )
        )
        try:
            process, self._pipes = await asyncio.shield(starting)
        except asyncio.CancelledError:
            # It cannot be ended before it has begun.
            self._process, self._pipes = await starting
            raise
        self._process = process
        if stdin == "eof":
            self.close_stdin()
        self._task = asyncio.create_task(self._listen(process))

    async def _listen(self, process: Running) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        readers = [
            asyncio.create_task(self._read("stdout", process.stdout)),
            asyncio.create_task(self._read("stderr", process.stderr)),
        ]
        try:
            status = await _end_of(process)
            # What it has started itself may hold its outputs open; that must not hold us up.
            await asyncio.wait(readers, timeout=None if self._orphan else 1.0)
        finally:
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)
        if self._orphan:
            self.recorder.note("target", "exit", "gone", "ended, nobody knows how")
        else:
            event = "exit" if status >= 0 else "signal"
            self.recorder.note("target", "exit", event, exit_words(status), name=str(abs(status)))
        self.ended.set()
        self.ready.set()
        self.said.set()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        # Not by the process's own send_signal: it would take the exit status from asyncio.
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    def orphan(self) -> None:
        """Kill its parent, which was made for that."""
        self._orphan = True
        self.signal(signal.SIGKILL)

    def close_stdin(self) -> None:
        """Let it read the end of its standard input."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def write_stdin(self, text: str) -> None:
        """Write to its standard input."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.write(text.encode())

    async def kill(self) -> None:
        """Make sure that neither it nor anything it has started is left; may be called twice."""
        if self._process is None or self._pipes is None:
            return
        with contextlib.suppress(OSError):
            kill_group(self._process.pid)
        self.close_stdin()
        # The group is dead; should a pipe stay open all the same, do not wait for it.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3.0):
                if self._task is not None:
                    await self._task
                await self._process.wait()
        self._pipes.close()
        await asyncio.sleep(0)  # which is when its pipes are closed

    # --- what it says

    async def _read(self, channel: str, stream: asyncio.StreamReader) -> None:
        kept = b""
        while data := await stream.read(65536):
            *whole, kept = (kept + data).split(b"\n")
            for line in whole:
                self._hear(channel, "line", line)
            if len(kept) > LINE:
                kept = kept[:LINE] + kept[-1:]
        if kept:
            self._hear(channel, "fragment", kept)
        self.recorder.note("target", channel, "eof", "closed")

    def _hear(self, channel: str, event: str, line: bytes) -> None:
        self._lines += 1
        text = line[:LINE].decode("utf-8", "surrogateescape")
        if self._lines <= LINES:
            self.recorder.note("target", channel, event, text)
            self.heard.append(text)
            self.said.set()
        if channel == "stdout" and event == "line":
            self._understand(text)

    def _understand(self, text: str) -> None:
        try:
            message = parse_line(text.removesuffix("\r"), self._dialect, self._role)
        except RemoteProtocolError:
            return
        if isinstance(message, CMethod | SMethod):
            self.methods.setdefault(message.transport, message)
        elif isinstance(message, CMethodsDone | SMethodsDone):
            self.done = True
            self.ready.set()

    def summary(self) -> Mapping[str, str]:
        """The transports that are up, and where."""
        return {name: str(method.address) for name, method in self.methods.items()}
