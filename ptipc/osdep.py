"""What differs between operating systems: outputs, files, the end of stdin, parents and children.

Watchers run in daemon threads, because a blocking ``read`` is the one way to see the end of stdin
that works for pipes, files, terminals and Windows alike.  Each calls its callback once, from its
thread.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from ptipc.core.dialects import Stream
from ptipc.core.session import LineSplitter

__all__ = [
    "CHILD_OPTIONS",
    "STOP_SIGNALS",
    "LineWriter",
    "State",
    "StdoutGuard",
    "exit_words",
    "glance",
    "kill_group",
    "raise_descriptor_limit",
    "soonest",
    "start_thread",
    "wait_for",
    "watch_parent",
    "watch_signals",
    "watch_stdin",
]

WINDOWS = sys.platform == "win32"


def start_thread(work: Callable[[], object], name: str) -> threading.Thread:
    """Do something in a thread that does not keep the process from ending."""
    thread = threading.Thread(target=work, name=f"ptipc {name}", daemon=True)
    thread.start()
    return thread


# --- outputs --------------------------------------------------------------------------------------


class StdoutGuard:
    """Keeps standard output for the conversation with the host.

    Whatever else writes to it (a ``print``, a library, a child process) ends, line by line, in the
    function ``stray``, which is called from a thread.  Use as a context manager; a ``LineWriter``
    that was made before is the way to the real standard output.
    """

    def __init__(self, stray: Callable[[str], object]) -> None:
        self._stray = stray
        self._stdout = -1
        self._thread: threading.Thread | None = None

    def __enter__(self) -> StdoutGuard:
        _flush_stdout()
        self._stdout = os.dup(1)
        reading, writing = os.pipe()
        os.dup2(writing, 1)
        os.close(writing)
        # What is printed shall be read when it is, not when there is enough of it.
        with contextlib.suppress(AttributeError, ValueError):
            sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        self._thread = start_thread(lambda: self._read(reading), "stdout guard")
        return self

    def __exit__(self, *exc: object) -> None:
        _flush_stdout()
        os.dup2(self._stdout, 1)  # which closes the last writing end of the pipe
        os.close(self._stdout)
        if self._thread is not None:
            # A child process that inherited the pipe may keep it open; it must not keep us.
            self._thread.join(timeout=1.0)

    def _read(self, reading: int) -> None:
        splitter = LineSplitter()
        try:
            while data := os.read(reading, 65536):
                self._hand_on(line.text for line in splitter.receive_data(data))
            self._hand_on(line.text for line in splitter.receive_eof())
        finally:
            os.close(reading)

    def _hand_on(self, texts: Iterator[str]) -> None:
        for text in texts:
            if text:
                self._stray(text)


def _flush_stdout() -> None:
    with contextlib.suppress(AttributeError, OSError, ValueError):  # it may be None, or closed
        sys.stdout.flush()


class LineWriter:
    """Writes lines to the real outputs in a thread: a host that does not read holds up nobody.

    ``broken`` is called, once and from that thread, when standard output cannot be written to any
    more.  At most ``limit`` lines wait, but those that must not be lost wait in any case.  Use as a
    context manager; what is still waiting at its end has ``patience`` seconds.
    """

    def __init__(
        self, broken: Callable[[], object], *, limit: int = 1000, patience: float = 1.0
    ) -> None:
        self._broken = broken
        self._limit = limit
        self._patience = patience
        self._lines: queue.SimpleQueue[tuple[Stream, bytes] | None] = queue.SimpleQueue()
        self._stdout = os.dup(1)
        self._thread = start_thread(self._run, "line writer")

    def __enter__(self) -> LineWriter:
        return self

    def __exit__(self, *exc: object) -> None:
        self._lines.put(None)
        self._thread.join(self._patience)

    def write(self, stream: Stream, data: bytes, *, may_be_lost: bool = False) -> bool:
        """Write one whole line soon; False if it is lost because too many others wait."""
        if may_be_lost and self._lines.qsize() >= self._limit:
            return False
        self._lines.put((stream, data))
        return True

    def _run(self) -> None:
        whole = True
        while line := self._lines.get():
            stream, data = line
            if stream is Stream.STDERR:
                with contextlib.suppress(OSError):
                    _write_all(2, data)
            elif whole:
                try:
                    _write_all(self._stdout, data)
                except OSError:
                    whole = False
                    self._broken()
        os.close(self._stdout)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


# --- files ----------------------------------------------------------------------------------------


@frozen
class State:
    """The only directory in which a transport may keep files; it is made when it is needed."""

    path: str

    def directory(self) -> Path:
        """The directory, which nobody else can read if it was made here.

        Raises OSError if it cannot be made, or belongs to somebody else.
        """
        directory = Path(self.path).absolute()
        for missing in [*reversed(directory.parents), directory]:
            with contextlib.suppress(FileExistsError):
                missing.mkdir(mode=0o700)
        if not directory.is_dir():
            raise NotADirectoryError(f"the state directory is not a directory: {self.path!r}")
        if not WINDOWS and directory.stat().st_uid not in (0, os.geteuid()):
            raise PermissionError(f"the state directory is somebody else's: {self.path!r}")
        return directory

    def file(self, name: str) -> Path:
        """A file in the directory, which need not exist.

        Raises OSError if there can be no directory, ValueError for a place outside of it.
        """
        directory = self.directory().resolve()
        path = (directory / name).resolve()
        if directory not in path.parents:
            raise ValueError(f"not in the state directory: {name!r}")
        return path

    def kept(self, name: str, make: Callable[[], bytes]) -> bytes:
        """What a file in the directory holds; if there is none, what ``make`` gives is kept in it.

        Nobody else can read it, so that it is the place for a server's keys.
        Raises OSError if it can be neither read nor made, ValueError for a place outside.
        """
        path = self.file(name)
        if not path.exists():
            new = path.with_name(f"{path.name}.new")
            new.unlink(missing_ok=True)
            with open(os.open(new, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "wb") as file:
                file.write(make())
            new.replace(path)  # so that it is never there by halves
        return path.read_bytes()


def raise_descriptor_limit() -> None:
    """Let the process have as many descriptors as it may, as Go's programs do."""
    if not WINDOWS:
        import resource

        with contextlib.suppress(OSError, ValueError):
            most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


# --- the host -------------------------------------------------------------------------------------

STOP_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGBREAK") if hasattr(signal, name)
)
"""The signals by which somebody asks us to end."""


def watch_signals(heard: Callable[[signal.Signals], object]) -> None:
    """Call ``heard`` for each of STOP_SIGNALS, from a thread; to be used by the main thread.

    That lasts until the interpreter ends, and while it does signals are ignored: to end a process
    that is ending anyway would only change its exit status.
    Handlers as ``signal`` has them would not do: the operating system gives a signal to whichever
    thread is running, and then nothing wakes the main thread, where handlers run.
    """
    reading, writing = socket.socketpair()
    writing.setblocking(False)

    def handle(number: int, frame: object) -> None:
        # An event loop may have taken our place, as uvloop does; then it is us to tell.
        current = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        if current != writing.fileno():
            signal.set_wakeup_fd(current)
            writing.send(bytes([number]))

    def read() -> None:
        while octets := reading.recv(16):
            for number in octets:
                if number in STOP_SIGNALS:
                    heard(signal.Signals(number))

    def ignore() -> None:
        # The interpreter would take a function away again, and leave the default behind.
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        writing.close()
        thread.join(1.0)
        reading.close()

    for number in STOP_SIGNALS:
        signal.signal(number, handle)
    signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    thread = start_thread(read, "signal watch")
    atexit.register(ignore)


GLANCE: Final = 0.5
"""After how many seconds a main thread that waits lets the handlers of signals have their turn."""


def glance() -> float | None:
    """How long this thread may wait at a time: only the main one has a limit.

    Signals may be given to other threads, and on Windows none interrupts a thread that waits.
    """
    return GLANCE if threading.current_thread() is threading.main_thread() else None


def soonest(*seconds: float | None) -> float | None:
    """The shortest of several times to wait; None: for ever."""
    return min((each for each in seconds if each is not None), default=None)


def wait_for(event: threading.Event, timeout: float | None = None) -> bool:
    """Wait for an event, in the main thread so that Ctrl-C can interrupt; whether it has come."""
    end = None if timeout is None else time.monotonic() + timeout
    while True:
        left = None if end is None else max(0.0, end - time.monotonic())
        if event.wait(soonest(left, glance())):
            return True
        if end is not None and time.monotonic() >= end:
            return False


def watch_stdin(ended: Callable[[], object]) -> None:
    """Call ``ended`` when standard input is at its end (PT 1 section 3.4)."""

    def read() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        ended()

    start_thread(read, "stdin watch")


def watch_parent(vanished: Callable[[], object]) -> None:
    """Call ``vanished`` when the process that started us has ended (PT 1 section 3.4).

    Never by PR_SET_PDEATHSIG, which tells of the end of the *thread* that started us.
    """
    parent = os.getppid()

    def wait() -> None:
        if WINDOWS:
            if _wait_for_handle(parent):
                vanished()
            return
        with contextlib.suppress(OSError):
            _wait_for(parent)
        # The parent's end shows in our own parent's number; the other ways are only quicker.
        while os.getppid() == parent:
            time.sleep(1.0)
        vanished()

    start_thread(wait, "parent watch")


def _wait_for(pid: int) -> None:
    """Wait for the end of a process that is not our child.  Raises OSError if there is no way."""
    if hasattr(os, "pidfd_open"):
        pidfd = os.pidfd_open(pid)
        try:
            if os.getppid() == pid:  # if not, it ended before we could watch it
                poll = select.poll()
                poll.register(pidfd, select.POLLIN)
                poll.poll()
        finally:
            os.close(pidfd)
    elif hasattr(select, "kqueue"):
        _wait_by_kqueue(select, pid)


def _wait_by_kqueue(select: Any, pid: int) -> None:
    """``_wait_for`` on macOS and the BSDs."""
    queue = select.kqueue()
    try:
        event = select.kevent(
            pid,
            select.KQ_FILTER_PROC,
            select.KQ_EV_ADD | select.KQ_EV_ONESHOT,
            select.KQ_NOTE_EXIT,
        )
        queue.control([event], 1)
    finally:
        queue.close()


def _wait_for_handle(pid: int) -> bool:
    """Wait for the end of a process on Windows, by a handle; False if we cannot."""
    import ctypes

    kernel32: Any = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined, unused-ignore]
    synchronize, infinite, invalid_parameter = 0x00100000, 0xFFFFFFFF, 87
    kernel32.OpenProcess.restype = ctypes.c_void_p
    handle = kernel32.OpenProcess(synchronize, False, pid)
    if not handle:
        # No such process, or one that is none of our business.
        return bool(ctypes.get_last_error() == invalid_parameter)  # type: ignore[attr-defined, unused-ignore]
    kernel32.WaitForSingleObject(ctypes.c_void_p(handle), infinite)
    kernel32.CloseHandle(ctypes.c_void_p(handle))
    return True


# --- children -------------------------------------------------------------------------------------


def _child_options() -> Iterator[tuple[str, Any]]:
    if WINDOWS:
        create_new_process_group, create_no_window = 0x00000200, 0x08000000
        yield "creationflags", create_new_process_group | create_no_window
    else:
        # A session of its own: Ctrl-C in our terminal is ours to forward, and the whole group can
        # be ended at once.
        yield "start_new_session", True


CHILD_OPTIONS = dict(_child_options())
"""How a transport process is started: keyword arguments of ``subprocess.Popen``."""


def kill_group(pid: int) -> None:
    """End a process that was started with ``CHILD_OPTIONS``, and what it has started, at once."""
    with contextlib.suppress(ProcessLookupError):
        if WINDOWS:
            os.kill(pid, signal.SIGTERM)  # which is TerminateProcess there
        else:
            os.killpg(pid, signal.SIGKILL)


_CRASHES = {
    0xC0000005: " (access violation)",
    0xC000013A: " (Ctrl-C)",
    0xC0000135: " (a DLL is missing)",
    0xC0000142: " (a DLL failed to start)",
    0xC00000FD: " (stack overflow)",
    0xC0000409: " (abort)",
}


def exit_words(status: int | None) -> str:
    """An exit status in words: ``exit 7`` or ``signal SIGSEGV``; None: the process runs."""
    if status is None:
        return "no exit status"
    if status >= 0:
        return f"exit {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"
