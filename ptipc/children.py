"""Child processes: how a transport process is started, and what ties its life to its host's.

``Child`` is a started process with its three pipes and everything that it has started itself.  It
ends with its host, however that ends: by the end of its stdin, which the operating system closes,
and if it does not care for that, by a job object on Windows and by a guardian elsewhere.  Nothing
here waits, except where it says so, and nothing knows of event loops or threads.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import tempfile
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any

from ptipc.core.diagnosis import Nature
from ptipc.core.dialects import Stream
from ptipc.osdep import CHILD_OPTIONS, WINDOWS

__all__ = ["Child", "Job", "nature", "weakly", "write_secret"]

_alive: weakref.WeakSet[Child] = weakref.WeakSet()


class Child:
    """A process that was started, and what it has started itself.

    Raises OSError if it cannot be.  ``environ`` is its whole environment; ``cwd`` and ``umask`` are
    those of the host if not given.  Without ``guard`` nothing but the end of its stdin tells it
    that the host has gone.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environ: Mapping[str, str],
        cwd: str | None = None,
        umask: int | None = None,
        guard: bool = True,
    ) -> None:
        self._reaped = False
        self._tie: _Guardian | Job | None = None
        with _default_signals():
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=dict(environ),
                cwd=cwd,
                umask=-1 if umask is None else umask,
                **CHILD_OPTIONS,
            )
        assert self._popen.stdout is not None
        assert self._popen.stderr is not None
        self.pid = self._popen.pid
        self.outputs: dict[Stream, IO[bytes]] = {
            Stream.STDOUT: self._popen.stdout,
            Stream.STDERR: self._popen.stderr,
        }
        """What to read its outputs from, unbuffered; a thread that reads one takes it from here."""
        _alive.add(self)
        if guard:
            # Without one it is as if there were no guard: the end of stdin is all there is.
            with contextlib.suppress(OSError):
                self._tie = self._tied()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.pid}>"

    def __del__(self) -> None:
        # It is no child at all if it could not be started.
        if not getattr(self, "_reaped", True) and hasattr(self, "pid"):
            self.kill()
            self.reap()
            self.close()
            warnings.warn(f"{self!r} was not stopped", ResourceWarning, stacklevel=2, source=self)

    def _tied(self) -> _Guardian | Job:
        if WINDOWS:
            return Job(_kernel32(), int(self._popen._handle))  # type: ignore[attr-defined, unused-ignore]
        return _Guardian(self.pid)

    # --- its end

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal; None until it was reaped."""
        return self._popen.returncode if self._reaped else None

    def exit_descriptor(self) -> int | None:
        """A descriptor that becomes readable when the process ends; None if there is no such thing.

        Whoever asks closes it.
        """
        if hasattr(os, "pidfd_open"):
            with contextlib.suppress(OSError):  # an old kernel, a sandbox, no descriptors left
                return os.pidfd_open(self.pid)
        return None

    def waiter(self) -> Callable[[], None]:
        """A function that waits for its end, for a thread that is not to keep us alive."""
        return functools.partial(_wait, self._popen)

    def wait(self) -> None:
        """Wait for its end, for as long as it takes; from any thread."""
        _wait(self._popen)

    def has_ended(self) -> bool:
        """Whether the process has ended."""
        if self._reaped:
            return True
        if not hasattr(os, "waitid"):
            return self._popen.poll() is not None
        try:
            found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        except ChildProcessError:
            return True
        return found is not None

    def reap(self) -> int:
        """End what the process has left behind, and return its exit status.

        Waits, for the operating system only, if the process has ended or was killed.
        """
        if not self._reaped:
            self.kill()
            if self._tie is not None:
                self._tie.dismiss()
            self._popen.wait()
            self._reaped = True
        return self._popen.returncode

    # --- how to bring it about

    def close_stdin(self) -> None:
        """Ask the process to end (PT 1 section 3.4)."""
        if self._popen.stdin is not None:
            self._popen.stdin.close()

    def terminate(self) -> None:
        """Ask the process, and what it has started, to end; on Windows there is no asking."""
        if WINDOWS:
            self.kill()
        else:
            self._signal_group(signal.SIGTERM)

    def kill(self) -> None:
        """End the process, and what it has started, at once."""
        if isinstance(self._tie, Job):
            self._tie.terminate()
        elif WINDOWS:
            self._popen.kill()
        else:
            self._signal_group(signal.SIGKILL)

    def _signal_group(self, number: signal.Signals) -> None:
        if not self._reaped:
            # macOS has "not permitted" for a group of which nothing but the dead is left.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def close(self) -> None:
        """Close the pipes, but for the outputs that were taken."""
        self.close_stdin()
        for output in self.outputs.values():
            output.close()

    def forget(self) -> None:
        """Let go of a process that is somebody else's child: we were forked."""
        self._reaped = True
        self._popen.returncode = 0
        self.close()
        if self._tie is not None:
            self._tie.forget()


def _wait(popen: subprocess.Popen[bytes]) -> None:
    if hasattr(os, "waitid"):
        with contextlib.suppress(ChildProcessError):
            # It is not reaped yet, so its number, and its group's, is nobody else's.
            os.waitid(os.P_PID, popen.pid, os.WEXITED | os.WNOWAIT)
    else:
        popen.wait()


@contextlib.contextmanager
def _default_signals() -> Iterator[None]:
    """Let no signal be ignored or blocked in what is started meanwhile, whatever it is here.

    A shell starts what is to run in the background with SIGINT ignored, which a child inherits,
    and with it Go's and Python's programs do not end on SIGINT either.
    """
    if WINDOWS:
        yield
        return
    blocked = signal.pthread_sigmask(signal.SIG_SETMASK, ())
    ignored: list[signal.Signals] = []
    try:
        # A handler becomes the default when a program is executed, and until then does nothing,
        # as before.  Only the main thread may set one.
        with contextlib.suppress(ValueError):
            for number in signal.Signals:
                if number in _RESTORED or signal.getsignal(number) is not signal.SIG_IGN:
                    continue
                signal.signal(number, _ignore)
                ignored.append(number)
        yield
    finally:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


_RESTORED = {getattr(signal, name, None) for name in ("SIGPIPE", "SIGXFSZ", "SIGCHLD")}
"""What ``subprocess`` restores itself; and SIGCHLD, for which doing nothing is the default."""


def _ignore(number: int, frame: object) -> None:
    """Do nothing."""


def weakly(method: Callable[..., object], *arguments: object) -> Callable[..., None]:
    """A call of a method that does not keep its object alive."""
    reference = weakref.WeakMethod(method)

    def call(*more: object) -> None:
        if (found := reference()) is not None:
            found(*arguments, *more)

    return call


def nature(command: str, environ: Mapping[str, str]) -> Nature:
    """What there is where a program was expected, which may be looked for on the PATH."""
    found = command
    if not os.path.dirname(command):
        path = environ.get("PATH", os.defpath)
        found = shutil.which(command, os.F_OK, path) or command
    if os.path.isdir(found):
        return "directory"
    if not os.path.exists(found):
        return "nothing"
    return "program" if os.access(found, os.X_OK) else "file"


def write_secret(path: str, data: bytes) -> None:
    """Write a file that nobody else may read, in one step for whoever reads it.  Raises OSError."""
    directory, name = os.path.split(path)
    fd, draft = tempfile.mkstemp(prefix=f".{name}-", dir=directory or ".")  # with mode 0600
    try:
        with open(fd, "wb") as file:
            file.write(data)
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise


# --- the guardian ---------------------------------------------------------------------------------

_GUARD = """\
trap '' HUP INT QUIT TERM
read -r word && exit
for signal in TERM KILL; do
    sleep 1
    kill -s 0 -- "-$1" 2>/dev/null || exit
    kill -s "$signal" -- "-$1"
done
"""
"""A line on its stdin dismisses the guardian; if there is none the host has gone without a word."""


class _Guardian:
    """A shell that waits until the host has gone, and then ends a group of processes.

    It costs a millisecond and half a megabyte, runs in a session of its own, so that whatever ends
    the host's group spares it, and holds nothing of the host's.  PR_SET_PDEATHSIG would not do: it
    tells of the end of a thread, and programs with capabilities lose it.  Raises OSError.
    """

    def __init__(self, group: int) -> None:
        self._popen = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "ptipc-guardian", str(group)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={"PATH": os.defpath},
            cwd="/",
            start_new_session=True,
        )

    def dismiss(self) -> None:
        """Let it go; to be called before the number of the group can be somebody else's."""
        assert self._popen.stdin is not None
        # If we are killed behind this line it knows all the same.
        with contextlib.suppress(BrokenPipeError):
            self._popen.stdin.write(b"\n")
        self._popen.stdin.close()
        self._popen.kill()
        self._popen.wait()

    def forget(self) -> None:
        """Let go of a guardian that is somebody else's child."""
        assert self._popen.stdin is not None
        self._popen.stdin.close()
        self._popen.returncode = 0


def _forget_all() -> None:
    """Leave the pipes to our parent: if we kept them open nobody would see their end."""
    for child in list(_alive):
        child.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


# --- the job object -------------------------------------------------------------------------------


def _kernel32() -> Any:
    import ctypes  # for Windows only, and slow to import

    return ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined, unused-ignore]


class Job:
    """A Windows job object, which ends the processes in it when its last handle is closed.

    That is ours, and Windows closes it when we end, however that happens.  ``kernel32`` is the
    library of that name.  Raises OSError.
    """

    def __init__(self, kernel32: Any, process: int) -> None:
        from ctypes import byref, c_int, c_void_p, sizeof

        for name, arguments in (
            ("CreateJobObjectW", [c_void_p, c_void_p]),
            ("SetInformationJobObject", [c_void_p, c_int, c_void_p, _dword()]),
            ("AssignProcessToJobObject", [c_void_p, c_void_p]),
            ("TerminateJobObject", [c_void_p, _dword()]),
            ("CloseHandle", [c_void_p]),
        ):
            getattr(kernel32, name).argtypes = arguments
        kernel32.CreateJobObjectW.restype = c_void_p
        self._kernel32 = kernel32
        self._handle: int | None = kernel32.CreateJobObjectW(None, None)
        if not self._handle:
            raise OSError("Windows gives us no job object")
        limits = _extended_limits()()
        kill_on_job_close, breakaway_ok = 0x2000, 0x0800
        limits.basic.limit_flags = kill_on_job_close | breakaway_ok
        extended_limit_information = 9
        if not (
            kernel32.SetInformationJobObject(
                self._handle, extended_limit_information, byref(limits), sizeof(limits)
            )
            and kernel32.AssignProcessToJobObject(self._handle, process)
        ):
            self.dismiss()
            raise OSError("Windows does not let us put the process into a job object")

    def terminate(self) -> None:
        """End every process in it, at once."""
        if self._handle is not None:
            self._kernel32.TerminateJobObject(self._handle, 1)

    def dismiss(self) -> None:
        """Let it go, and with it what is still running."""
        if self._handle is not None:
            self._kernel32.CloseHandle(self._handle)
            self._handle = None

    def forget(self) -> None:
        """Nothing, for there is no fork on Windows."""


def _dword() -> Any:
    from ctypes import c_uint32

    return c_uint32


def _extended_limits() -> Any:
    """The class of a JOBOBJECT_EXTENDED_LIMIT_INFORMATION."""
    import ctypes

    class Basic(ctypes.Structure):
        _fields_ = (
            ("process_user_time_limit", ctypes.c_int64),
            ("job_user_time_limit", ctypes.c_int64),
            ("limit_flags", ctypes.c_uint32),
            ("minimum_working_set_size", ctypes.c_size_t),
            ("maximum_working_set_size", ctypes.c_size_t),
            ("active_process_limit", ctypes.c_uint32),
            ("affinity", ctypes.c_size_t),
            ("priority_class", ctypes.c_uint32),
            ("scheduling_class", ctypes.c_uint32),
        )

    class Extended(ctypes.Structure):
        _fields_ = (
            ("basic", Basic),
            ("io", ctypes.c_uint64 * 6),
            ("process_memory_limit", ctypes.c_size_t),
            ("job_memory_limit", ctypes.c_size_t),
            ("peak_process_memory_used", ctypes.c_size_t),
            ("peak_job_memory_used", ctypes.c_size_t),
        )

    return Extended
