"""What the operating system is asked for: outputs, files, and news of the host.

What concerns file descriptors 0 and 1 is tried in processes of its own.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from ptipc import osdep
from ptipc.core.dialects import Stream
from ptipc.osdep import LineWriter, State, exit_words, start_thread

DEADLINE = 20


def program(source: str) -> list[str]:
    """A Python program."""
    return [sys.executable, "-c", textwrap.dedent(source)]


def run(source: str, stdin: int | IO[str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a Python program to its end."""
    return subprocess.run(
        program(source), stdin=stdin, capture_output=True, text=True, timeout=DEADLINE, check=False
    )


# --- outputs --------------------------------------------------------------------------------------


def test_nothing_but_the_conversation_reaches_standard_output() -> None:
    """Not what is printed, not what is written to the descriptor, not what a child writes."""
    done = run(
        """
        import os, subprocess, sys
        from ptipc.core.dialects import Stream
        from ptipc.osdep import LineWriter, StdoutGuard

        stray = []
        print("before")
        with LineWriter(lambda: None) as writer:
            with StdoutGuard(stray.append):
                print("printed")
                print("without an end", end="")
                sys.stdout.flush()
                os.write(1, b"\\nwritten\\n\\n")
                subprocess.run(["echo", "by a child"])
                writer.write(Stream.STDOUT, b"the conversation\\n")
        print("after")
        print(stray, file=sys.stderr)
        """
    )
    assert done.stdout.splitlines() == ["before", "the conversation", "after"]
    assert done.stderr.splitlines() == ["['printed', 'without an end', 'written', 'by a child']"]


def test_a_line_that_nobody_ends_does_not_fill_the_memory() -> None:
    done = run(
        """
        import os, sys
        from ptipc.osdep import StdoutGuard

        stray = []
        with StdoutGuard(stray.append):
            for _ in range(10):
                os.write(1, bytes(65536))
        print([len(text) for text in stray])
        """
    )
    assert done.stdout == "[65536]\n"


def test_a_child_that_keeps_the_output_open_does_not_keep_us() -> None:
    done = run(
        """
        import subprocess
        from ptipc.osdep import StdoutGuard

        with StdoutGuard(print):
            child = subprocess.Popen(["sleep", "60"])
        print("on")
        child.kill()
        child.wait()
        """
    )
    assert done.stdout == "on\n"


def test_a_program_may_have_no_standard_output_object() -> None:
    done = run(
        """
        import os, sys
        from ptipc.osdep import StdoutGuard

        sys.stdout = None
        stray = []
        with StdoutGuard(stray.append):
            os.write(1, b"x\\n")
        print(stray, file=sys.stderr)
        """
    )
    assert done.stderr == "['x']\n"


def test_errors_go_to_standard_error() -> None:
    done = run(
        """
        from ptipc.core.dialects import Stream
        from ptipc.osdep import LineWriter

        with LineWriter(lambda: None) as writer:
            writer.write(Stream.STDERR, b"ENV-ERROR x\\n")
        """
    )
    assert (done.stdout, done.stderr) == ("", "ENV-ERROR x\n")


def test_a_host_that_does_not_read_holds_up_nobody_and_loses_only_what_may_be_lost() -> None:
    """The pipe is full; the writer goes on to take lines, and says which it cannot keep."""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        program(
            """
            import sys
            from ptipc.core.dialects import Stream
            from ptipc.osdep import LineWriter

            with LineWriter(lambda: None, limit=10, patience=0.1) as writer:
                line = b"x" * 100000 + b"\\n"
                kept = [writer.write(Stream.STDOUT, line, may_be_lost=True) for _ in range(20)]
                assert writer.write(Stream.STDOUT, b"DONE\\n")
                print(kept[0], kept[-1], file=sys.stderr)
            """
        ),
        stdout=writing,
        stderr=subprocess.PIPE,
    )
    os.close(writing)
    try:
        _, errors = process.communicate(timeout=DEADLINE)
    finally:
        os.close(reading)
    assert errors.split() == [b"True", b"False"]
    assert process.returncode == 0


def test_a_host_that_is_gone_is_noticed_once() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.Popen(
        program(
            """
            import sys, threading
            from ptipc.core.dialects import Stream
            from ptipc.osdep import LineWriter

            times = []
            broken = threading.Event()
            def note():
                times.append(1)
                broken.set()
            with LineWriter(note) as writer:
                writer.write(Stream.STDOUT, b"x\\n")
                assert broken.wait(10)
                writer.write(Stream.STDOUT, b"x\\n")
                writer.write(Stream.STDERR, b"still there\\n")
            print(len(times), file=sys.stderr)
            """
        ),
        stdout=writing,
        stderr=subprocess.PIPE,
    )
    os.close(writing)
    _, errors = process.communicate(timeout=DEADLINE)
    assert errors.split(b"\n")[:2] == [b"still there", b"1"]


def test_a_writer_ends_with_its_block() -> None:
    with LineWriter(lambda: None) as writer:
        thread = writer._thread
        assert thread.is_alive()
    assert not thread.is_alive()
    assert writer.write(Stream.STDOUT, b"late, and heard by nobody\n")


def test_threads_do_not_keep_a_process() -> None:
    ran = threading.Event()
    thread = start_thread(ran.set, "x")
    assert thread.daemon
    assert ran.wait(DEADLINE)
    thread.join(DEADLINE)


# --- files ----------------------------------------------------------------------------------------


def test_the_state_directory_is_made_when_it_is_needed_and_for_us_alone(tmp_path: Path) -> None:
    state = State(str(tmp_path / "a" / "b"))
    assert not (tmp_path / "a").exists()
    directory = state.directory()
    assert directory == tmp_path / "a" / "b" == state.directory()
    for made in (directory, directory.parent):
        assert made.stat().st_mode & 0o777 == 0o700


def test_a_directory_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    assert State(str(tmp_path)).directory() == tmp_path
    assert tmp_path.stat().st_mode & 0o777 == 0o750


def test_a_relative_state_directory_is_where_we_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert State("x").directory() == tmp_path / "x"


@pytest.mark.parametrize("name", ["key", "sub/key", "./key", "sub/../key"])
def test_files_are_in_the_state_directory(tmp_path: Path, name: str) -> None:
    assert State(str(tmp_path)).file(name).is_relative_to(tmp_path.resolve())


def test_what_is_kept_is_made_once_and_for_nobody_else_to_read(tmp_path: Path) -> None:
    """And never there by halves: what was interrupted before is made again."""
    state = State(str(tmp_path / "state"))
    state.file("key.new").write_bytes(b"half of")
    for make in (b"one".lower, b"two".lower):
        assert state.kept("key", make) == b"one"
    assert [path.name for path in state.directory().iterdir()] == ["key"]
    assert state.file("key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(ZeroDivisionError):
        state.kept("other", lambda: bytes(1 // 0))
    assert not state.file("other").exists()


@pytest.mark.parametrize("name", ["../key", "/etc/passwd", "sub/../../key", ".", "", "out/key"])
def test_files_are_nowhere_else(tmp_path: Path, name: str) -> None:
    directory = tmp_path / "state"
    directory.mkdir()
    (directory / "out").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="state directory"):
        State(str(directory)).file(name)


def test_a_file_is_no_state_directory(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(NotADirectoryError):
        State(str(tmp_path / "x")).directory()


def test_somebody_elses_directory_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    (tmp_path / "x").mkdir()
    os.chown(tmp_path / "x", 12345, -1)
    with pytest.raises(PermissionError, match="somebody else"):
        State(str(tmp_path / "x")).directory()


def test_the_limit_of_descriptors_is_raised_as_far_as_it_goes() -> None:
    done = run(
        """
        import resource
        from ptipc.osdep import raise_descriptor_limit

        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        raise_descriptor_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
        """
    )
    assert done.stderr == ""


# --- the host -------------------------------------------------------------------------------------

WATCHER = """
    import os, sys
    from ptipc.osdep import watch_parent, watch_stdin
    import threading

    over = threading.Event()
    {watch}(over.set)
    print("ready", flush=True)
    over.wait()
    print("over", flush=True)
"""


@pytest.fixture
def watching_stdin() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        program(WATCHER.format(watch="watch_stdin")),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


def test_the_end_of_stdin_is_noticed_and_what_is_written_there_is_not(
    watching_stdin: subprocess.Popen[str],
) -> None:
    output, _ = watching_stdin.communicate("some\nlines\n", timeout=DEADLINE)
    assert output == "ready\nover\n"


@pytest.mark.parametrize("before", ["", "    import os\n    os.close(0)\n"])
def test_a_stdin_that_is_not_there_is_at_its_end(before: str) -> None:
    source = before + WATCHER.format(watch="watch_stdin")
    assert run(source, subprocess.DEVNULL).stdout == "ready\nover\n"


def test_a_file_as_stdin_has_an_end(tmp_path: Path) -> None:
    """Which asyncio could not wait for."""
    path = tmp_path / "file"
    path.write_text("text")
    with path.open() as stdin:
        assert run(WATCHER.format(watch="watch_stdin"), stdin).stdout == "ready\nover\n"


PARENT = """
    import subprocess, sys
    child = subprocess.Popen([sys.executable, "-c", {child!r}], stdin=subprocess.DEVNULL)
    child.wait()
"""


@pytest.mark.parametrize("way", ["pidfd", "getppid"])
def test_the_end_of_the_parent_is_noticed(way: str) -> None:
    """By a kill that it cannot announce; with pidfd, and without as on other systems."""
    child = textwrap.dedent(WATCHER.format(watch="watch_parent"))
    if way == "getppid":
        child = "import os\nif hasattr(os, 'pidfd_open'): del os.pidfd_open\n" + child
    parent = subprocess.Popen(
        program(PARENT.format(child=child)), stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    with parent.stdout as output:
        assert output.readline() == "ready\n"
        parent.kill()
        parent.wait()
        assert output.readline() == "over\n"


def test_a_parent_that_lives_is_not_missed() -> None:
    done = run(
        """
        import threading
        from ptipc.osdep import watch_parent

        over = threading.Event()
        watch_parent(over.set)
        print(over.wait(0.2), threading.active_count())
        """
    )
    assert done.stdout == "False 2\n"


def test_the_signals_to_stop_are_those_of_the_system() -> None:
    assert set(osdep.STOP_SIGNALS) >= {signal.SIGTERM, signal.SIGINT}


SIGNALLED = """
    import os, queue, signal, threading
    from ptipc.osdep import watch_signals

    class Late:
        def __del__(self, write=os.write, kill=os.kill, pid=os.getpid(), number=signal.SIGTERM):
            kill(pid, number)
            write(1, b"late\\n")

    late = Late()
    heard = queue.SimpleQueue()
    done = threading.Event()

    def spin():
        while not done.is_set():
            pass

    # Threads that run are those to whom the system gives a signal.
    spinning = [threading.Thread(target=spin) for _ in range(2)]
    for thread in spinning:
        thread.start()
    watch_signals(heard.put)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        os.kill(os.getpid(), number)
        print(heard.get(timeout=20).name, flush=True)
    done.set()
    for thread in spinning:
        thread.join()
"""


def test_signals_are_heard_whoever_is_given_them() -> None:
    """And ignored when the interpreter ends, down to the last of what it does."""
    done = run(SIGNALLED)
    assert (done.stdout, done.stderr) == ("SIGTERM\nSIGINT\nSIGTERM\nlate\n", "")
    assert done.returncode == 0


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_signals_are_heard_in_an_event_loop(loop: str) -> None:
    """uvloop wants to be told of signals itself, and tells us."""
    done = run(
        f"""
        import asyncio, os, signal
        import {loop}
        from ptipc.osdep import watch_signals

        heard = []

        async def main():
            for number in (signal.SIGTERM, signal.SIGINT):
                os.kill(os.getpid(), number)
                while not heard or heard[-1] is not number:
                    await asyncio.sleep(0.001)

        watch_signals(heard.append)
        {loop}.run(main())
        print(*(number.name for number in heard))
        """
    )
    assert (done.stdout, done.stderr) == ("SIGTERM SIGINT\n", "")


def test_only_a_main_thread_looks_up_from_waiting() -> None:
    """Handlers of signals run in it, and nothing else may have it look."""
    seen: list[float | None] = []
    start_thread(lambda: seen.append(osdep.glance()), "test").join()
    assert seen == [None]
    assert osdep.glance() == osdep.GLANCE


def test_the_soonest_of_several_times() -> None:
    assert osdep.soonest(3, None, 2) == 2
    assert osdep.soonest(None, None) is None


def test_an_event_is_waited_for_as_long_as_it_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(osdep, "GLANCE", 0.001)
    event = threading.Event()
    assert not osdep.wait_for(event, 0.01)
    start_thread(event.set, "test")
    assert osdep.wait_for(event)
    assert osdep.wait_for(event, 0)


# --- children -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (None, "no exit status"),
        (0, "exit 0"),
        (7, "exit 7"),
        (-11, "signal SIGSEGV"),
        (-250, "signal 250"),
    ],
)
def test_exit_statuses_have_words(status: int | None, words: str) -> None:
    assert exit_words(status) == words


def test_a_process_and_what_it_started_end_at_once() -> None:
    process = subprocess.Popen(
        ["sh", "-c", "sleep 60 & echo $!; wait"],
        stdout=subprocess.PIPE,
        text=True,
        **osdep.CHILD_OPTIONS,
    )
    assert process.stdout is not None
    with process.stdout as output:
        grandchild = os.pidfd_open(int(output.readline()))
        osdep.kill_group(process.pid)
        assert process.wait(DEADLINE) == -signal.SIGKILL
        assert output.read() == ""
    assert select.select([grandchild], [], [], DEADLINE)[0] == [grandchild]
    os.close(grandchild)
    osdep.kill_group(process.pid)
