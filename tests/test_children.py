"""Child processes as they are, without an event loop."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import stat
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from ptipc.children import Child, Job, nature, write_secret
from ptipc.core.dialects import Stream

from .aio.hosting import nothing_left, program, running

# --- a life ---------------------------------------------------------------------------------------


def ended(child: Child) -> int:
    child.wait()
    assert child.has_ended()
    code = child.reap()
    child.close()
    return code


def test_what_it_writes_can_be_read_and_its_end_is_told() -> None:
    with nothing_left():
        child = Child(["/bin/sh", "-c", "echo out; echo err >&2; exit 3"], environ={})
        assert repr(child) == f"<Child {child.pid}>"
        assert child.outputs[Stream.STDOUT].read() == b"out\n"
        assert child.outputs[Stream.STDERR].read() == b"err\n"
        assert ended(child) == 3
        assert child.returncode == 3
        assert child.reap() == 3
        assert child.has_ended()


def test_the_end_of_its_stdin_ends_it() -> None:
    with nothing_left():
        child = Child(program("silent"), environ={})
        assert not child.has_ended()
        assert child.returncode is None
        child.close_stdin()
        assert ended(child) == 0


def test_it_can_be_asked_to_end() -> None:
    with nothing_left():
        child = Child(["/bin/sleep", "60"], environ={})
        child.terminate()
        assert ended(child) == -signal.SIGTERM


def test_it_can_be_ended_with_what_it_has_started() -> None:
    with nothing_left() as pids:
        child = Child(program("deaf", "child"), environ={})
        pids.append(child.pid)
        assert child.outputs[Stream.STDOUT].read(1) == b"V"
        child.kill()
        assert ended(child) == -signal.SIGKILL
        # Its number may be somebody else's now.
        child.kill()
        child.terminate()


def test_what_it_left_behind_ends_when_it_is_reaped() -> None:
    with nothing_left() as pids:
        child = Child(program("parent"), environ={})
        pids.append(child.pid)
        assert ended(child) == 5


def test_without_a_guardian_there_is_none() -> None:
    with nothing_left():
        child = Child(program("silent"), environ={}, guard=False)
        assert running(f"ptipc-guardian {child.pid} ") == []
        child.kill()
        ended(child)


def test_it_can_do_without_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then there is no guardian, and nothing else is different."""
    real = subprocess.Popen

    def without_a_shell(command: list[str], **options: Any) -> Any:
        return real(["/no/shell"] if command[0] == "/bin/sh" else command, **options)

    monkeypatch.setattr(subprocess, "Popen", without_a_shell)
    with nothing_left():
        child = Child(program("silent"), environ={})
        child.close_stdin()
        assert ended(child) == 0


def test_it_can_do_without_new_system_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    monkeypatch.delattr(os, "waitid")
    with nothing_left():
        child = Child(program("silent"), environ={})
        assert child.exit_descriptor() is None
        assert not child.has_ended()
        child.close_stdin()
        assert ended(child) == 0


def test_somebody_else_may_have_reaped_it() -> None:
    """A program that waits for any child whatever, or ignores SIGCHLD."""
    with nothing_left():
        child = Child(program("silent"), environ={})
        child.close_stdin()
        os.waitpid(child.pid, 0)
        child.wait()
        assert child.has_ended()
        child.reap()
        child.close()


def test_one_that_is_dropped_is_ended_and_warned_about() -> None:
    def drop(children: list[Child]) -> None:
        children.clear()
        gc.collect()

    with nothing_left() as pids:
        children = [Child(program("deaf"), environ={})]
        pids.append(children[0].pid)
        with pytest.warns(ResourceWarning, match="was not stopped"):
            drop(children)


def test_what_cannot_be_started_leaves_nothing() -> None:
    with nothing_left(), pytest.raises(FileNotFoundError):
        Child(["/no/such/program"], environ={})


def test_it_can_be_started_in_any_thread() -> None:
    """Only the main thread could care for signals that are ignored."""
    codes = []

    def work() -> None:
        codes.append(ended(Child(["/bin/true"], environ={})))

    with nothing_left():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert codes == [0]


# --- forks ----------------------------------------------------------------------------------------


def test_a_fork_of_ours_leaves_it_alone() -> None:
    """It closes the pipes, and ends nothing that is its parent's."""
    with nothing_left():
        child = Child(program("silent"), environ={})
        fork = os.fork()
        if not fork:
            code = 1
            try:
                child.terminate()
                child.kill()
                child.close()
                code = child.reap()
            finally:
                os._exit(code)
        assert os.waitpid(fork, 0)[1] == 0
        assert not child.has_ended()
        child.close_stdin()
        assert ended(child) == 0


# --- Windows --------------------------------------------------------------------------------------


class Kernel32:
    """Notes what is called, as Windows would be; ``failing`` is what returns nothing."""

    def __init__(self, failing: str = "") -> None:
        self.calls: list[tuple[Any, ...]] = []
        self._failing = failing

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            if name == "SetInformationJobObject":
                # By what it points to, for it is gone afterwards.
                size = arguments[3]
                arguments = (*arguments[:2], ctypes.string_at(arguments[2], size), size)
            self.calls.append((name, *arguments))
            return 0 if name == self._failing else 77

        setattr(self, name, call)
        return call


def test_a_job_ends_what_is_in_it_when_its_handle_is_closed() -> None:
    """The structure has the size and the offset that Windows documents for 64 bits."""
    kernel32 = Kernel32()
    job = Job(kernel32, 5)
    job.terminate()
    job.dismiss()
    job.dismiss()
    job.terminate()
    job.forget()
    create, limit, assign, terminate, close = kernel32.calls
    assert create == ("CreateJobObjectW", None, None)
    assert limit[:3] == ("SetInformationJobObject", 77, 9)
    assert limit[4] == 144
    assert int.from_bytes(limit[3][16:20], "little") == 0x2800
    assert assign == ("AssignProcessToJobObject", 77, 5)
    assert terminate == ("TerminateJobObject", 77, 1)
    assert close == ("CloseHandle", 77)


@pytest.mark.parametrize(
    "failing", ["CreateJobObjectW", "SetInformationJobObject", "AssignProcessToJobObject"]
)
def test_a_job_that_cannot_be_had_leaves_no_handle(failing: str) -> None:
    kernel32 = Kernel32(failing)
    with pytest.raises(OSError, match="Windows"):
        Job(kernel32, 5)
    assert (kernel32.calls[-1][0] == "CloseHandle") == (failing != "CreateJobObjectW")


# --- files ----------------------------------------------------------------------------------------


def test_what_there_is_where_a_program_was_expected(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "program").write_text("")
    (tmp_path / "program").chmod(0o755)
    environ = {"PATH": str(tmp_path)}
    assert nature(str(tmp_path / "nothing"), {}) == "nothing"
    assert nature(str(tmp_path), {}) == "directory"
    assert nature(str(tmp_path / "file"), {}) == "file"
    assert nature("file", environ) == "file"
    assert nature("program", environ) == "program"
    assert nature("nothing", environ) == "nothing"


def test_a_secret_is_written_in_one_step_and_for_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    for content in (b"one", b"two"):
        write_secret(str(path), content)
        assert path.read_bytes() == content
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["secret"]


def test_a_secret_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_secret(str(tmp_path / "place"), b"secret")
    assert [each.name for each in tmp_path.iterdir()] == ["place"]
