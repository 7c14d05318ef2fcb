"""``ptipc trace``: stand between a host and a transport process, and write down what they say.

The process has our standard input, environment, directory, descriptors and process group, as they
are.  What it writes is handed on at once, signals are forwarded, and we end as it does.  What is
written down is made of copies, in a thread of its own: a slow disk holds up nobody.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

from ptipc.cli.parsing import UsageError, takes_program

__all__ = ["Entry", "add_arguments", "main"]

Entry = tuple[float, str, tuple[Any, ...]]
"""What happened when: the time, the name of a method of ``tracelog.Log``, and its arguments."""

WINDOWS = os.name == "nt"
CHUNK = 65536
"""How many octets are read at a time."""
LAST_WORDS = 0.5
"""How many seconds the process has to end when its host has."""
LOG_TIMEOUT = 2.0
"""How many seconds the log may take when everything else is over, before it has to hurry."""

WAITING = 64
"""How many pieces of at most so many octets may wait for the log."""

FORWARDED = tuple(
    getattr(signal, name)
    for name in ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)
SI_KERNEL = 0x80
"""Says of a signal that nobody sent it: it is Ctrl-C, and the process has it as well."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    takes_program(
        parser,
        "[-o FILE] [--secrets] -- PROGRAM [ARGUMENT ...]",
        "the transport's executable, as the host would start it",
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = """\
In a torrc, for example:

  ClientTransportPlugin obfs4 exec \\
    /usr/bin/ptipc trace -o /tmp/x.log -- /usr/bin/obfs4proxy

exit status: that of the process; 2 a wrong command line, 126 or 127 no such
program"""
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        default="ptipc-trace.log",
        help="where to write to, behind what is there (default: %(default)s)",
    )
    parser.add_argument(
        "--secrets", action="store_true", help="write args, options and passwords as they are"
    )


def main(options: argparse.Namespace) -> int:
    """Run the process, and end as it does."""
    if not options.program:
        raise UsageError("which process? Its command has its place behind --")
    missing = _occupy_missing()
    try:
        # Nobody else is to see what will be in there.
        log = os.open(options.output, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    except OSError as error:
        raise UsageError(f"cannot write to {options.output}: {error.strerror}") from None
    return _Trace(options.program, log, options.secrets, missing).run()


def _occupy_missing() -> set[int]:
    """The standard descriptors that are closed; nothing that we open shall take their place."""
    missing = set()
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            missing.add(fd)
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest number, and no child inherits it
    return missing


class _Trace:
    """One process, from its start to its end."""

    def __init__(self, command: Sequence[str], log: int, secrets: bool, missing: set[int]) -> None:
        self._command = command
        self._host = os.getppid()
        self._missing = missing
        self._entries: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        self._hurry = threading.Event()
        self._writing = threading.Thread(
            target=_write, args=(self._entries, log, secrets, self._hurry), daemon=True
        )
        self._over, self._running = os.pipe()
        """The second is closed when the process has ended, which the first shows."""
        self._stdin_ended = threading.Event()
        self._ended = threading.Event()
        self._lost = 0
        """How many octets could not be written down since the last that could."""

    def run(self) -> int:
        """Start the process, wait for its end, and end in the same way."""
        environ = _inherited_environment()
        blocked = None if WINDOWS else signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR)
        try:
            child = self._start(environ, blocked)
        except OSError as error:
            print(f"ptipc trace: {self._command[0]}: {error.strerror}", file=sys.stderr)
            return 127 if isinstance(error, FileNotFoundError) else 126
        self._tell("start", tuple(self._command), environ, child.pid, self._host)
        self._writing.start()
        pumps = [
            _thread(self._pump, output, sink)
            for output, sink in ((child.stdout, 1), (child.stderr, 2))
            if output is not None
        ]
        if not WINDOWS:
            _thread(self._watch_stdin)
            _thread(self._watch_host)
            self._forward_signals(child)
        status = child.wait()
        self._ended.set()
        os.close(self._running)
        for pump in pumps:
            # As long as it takes, for nothing shall be lost that would not be lost without us; but
            # who wants us to end while the host does not read is heard.
            while pump.is_alive() and not self._urged(pump):
                pass
        self._tell("end", status)
        self._finish()
        return status if status >= 0 else _die_of(-status)

    def _start(self, environ: Mapping[bytes, bytes], blocked: Any) -> subprocess.Popen[bytes]:
        ignores_children = not WINDOWS and signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN
        if ignores_children:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)

        def restore() -> None:
            if ignores_children:
                signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

        return subprocess.Popen(
            self._command,
            stdin=None,
            stdout=None if 1 in self._missing else subprocess.PIPE,
            stderr=None if 2 in self._missing else subprocess.PIPE,
            bufsize=0,
            env=None if WINDOWS else environ,
            close_fds=False,
            preexec_fn=None if WINDOWS else restore,
        )

    # --- what is handed on

    def _pump(self, output: IO[bytes], sink: int) -> None:
        """Hand on what the process writes to one of its outputs."""
        source = output.fileno()
        try:
            while self._may_read(source, sink):
                data = os.read(source, CHUNK)
                if not data:
                    _close_for_the_host(sink)
                    break
                self._tell_output(sink, data)
                _write_all(sink, data)
        except OSError:
            # The host does not read any more, which the process shall notice as it would.
            self._tell("unread", sink)
        output.close()
        self._tell("output", sink, b"")

    def _may_read(self, source: int, sink: int) -> bool:
        """Wait for something to read; False if the process has ended and there is no more.

        Without this, something that it has left behind might keep us here.  Raises OSError if
        nobody would read what we read.
        """
        if WINDOWS:
            return True
        poll = select.poll()
        for fd, events in ((source, select.POLLIN), (self._over, select.POLLIN), (sink, 0)):
            poll.register(fd, events)
        ready = dict(poll.poll())
        if sink in ready:
            raise BrokenPipeError
        return source in ready

    def _forward_signals(self, child: subprocess.Popen[bytes]) -> None:
        """Forward signals until the process has ended."""
        while child.poll() is None:
            number, from_terminal = _next_signal()
            if number in FORWARDED and child.poll() is None:
                self._tell("signal", signal.Signals(number).name, from_terminal)
                if not from_terminal:
                    os.kill(child.pid, number)

    def _urged(self, pump: threading.Thread) -> bool:
        """Wait for a moment; whether there is a signal, and still something to be handed on."""
        pump.join(LAST_WORDS)
        return not WINDOWS and pump.is_alive() and bool(signal.sigpending() & set(FORWARDED))

    # --- what is noticed

    def _watch_stdin(self) -> None:
        """Notice that the host closes the standard input, without reading from it."""
        if 0 not in self._missing:
            poll = select.poll()
            poll.register(0, getattr(select, "POLLRDHUP", 0))
            poll.poll()
            self._tell("stdin_ended")
        self._stdin_ended.set()

    def _watch_host(self) -> None:
        """End when the host does: the process shall see its parent go, as it would without us."""
        from ptipc.osdep import watch_parent  # here, where nobody waits for it

        if os.getppid() != self._host:
            self._host_is_gone()
        watch_parent(self._host_is_gone)

    def _host_is_gone(self) -> None:
        # If nothing else went with it, it was only who started us, in the background perhaps.
        while not self._stdin_ended.is_set() and not _is_broken(1):
            time.sleep(1.0)
        # A host that ends in good order has asked the process to end just before.
        if not self._ended.wait(LAST_WORDS):
            self._tell("host_gone")
            self._finish()
            os._exit(1)

    # --- what is written down

    def _tell(self, kind: str, *what: Any) -> None:
        self._entries.put((time.time(), kind, what))

    def _tell_output(self, fd: int, data: bytes) -> None:
        """Have something written down, unless too much waits for that already."""
        if self._entries.qsize() >= WAITING:
            self._lost += len(data)
            return
        if self._lost:
            self._tell("lost", self._lost)
            self._lost = 0
        self._tell("output", fd, data)

    def _finish(self) -> None:
        if self._lost:
            self._tell("lost", self._lost)
        self._entries.put(None)
        self._writing.join(LOG_TIMEOUT)
        self._hurry.set()
        self._writing.join(LAST_WORDS)


def _write(
    entries: queue.SimpleQueue[Entry | None], log: int, secrets: bool, hurry: threading.Event
) -> None:
    try:
        from ptipc.cli.tracelog import Log  # here, where nobody waits for it

        Log(log, secrets=secrets, hurry=hurry).write(iter(entries.get, None))
    except Exception:
        # Never on stderr, which is the process's own.
        with contextlib.suppress(OSError):
            os.write(log, traceback.format_exc().encode("utf-8", "replace"))


def _thread(work: Callable[..., object], *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    thread.start()
    return thread


def _inherited_environment() -> Mapping[bytes, bytes]:
    """The environment that the host gave: Python may have added LC_CTYPE to ours (PEP 538)."""
    with contextlib.suppress(OSError):
        with open("/proc/self/environ", "rb") as file:
            entries = file.read().split(b"\0")
        if pairs := [entry.partition(b"=") for entry in entries if b"=" in entry]:
            return {name: text for name, _, text in pairs}
    return {os.fsencode(name): os.fsencode(text) for name, text in os.environ.items()}


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _close_for_the_host(fd: int) -> None:
    """Close one of our outputs, of which the number is not to be taken by anything else."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, fd)
    os.close(nowhere)


def _is_broken(fd: int) -> bool:
    """Whether nobody reads from a pipe any more."""
    poll = select.poll()
    poll.register(fd, 0)
    return bool(poll.poll(0))


# --- signals --------------------------------------------------------------------------------------

_WAITED_FOR = set() if WINDOWS else {*FORWARDED, signal.SIGCHLD}


def _next_signal() -> tuple[int, bool]:
    """The next signal, and whether the terminal has sent it to the whole process group.

    If a person has sent it to the group, the process has it twice; there is no way to tell.
    """
    if hasattr(signal, "sigwaitinfo"):
        info = signal.sigwaitinfo(_WAITED_FOR)
        return info.si_signo, info.si_code == SI_KERNEL
    number = signal.sigwait(_WAITED_FOR)  # macOS
    return number, number in (signal.SIGINT, signal.SIGQUIT) and _in_foreground()


def _in_foreground() -> bool:
    """Whether our process group is the one that the keys of a terminal interrupt."""
    try:
        with open("/dev/tty", "rb") as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False


def _die_of(number: int) -> int:
    """End by a signal, as the process did; the exit status of a shell if that does not work."""
    import resource

    with contextlib.suppress(OSError, ValueError):  # one memory dump is enough; SIGKILL is as it is
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    return 128 + number
