"""What tests of the host's side share: event loops, transport processes, and what these leave."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
import types
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

from ptipc.core.codecs import Address
from ptipc.sockets import free_address

T = TypeVar("T")

PROCESSES = Path(__file__).parents[1] / "processes"

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

IMPATIENT = (0.05, 0.05)
"""How long a process that will not end by itself is waited for."""
PATIENT = (60.0, 60.0)
"""How long one is waited for that will: however busy the machine is, it ends in good order."""


def program(name: str, *words: str) -> list[str]:
    """The command of one of the programs in ``tests/processes``."""
    return [sys.executable, "-I", "-S", str(PROCESSES / f"{name}.py"), *words]


class BlindLoop(asyncio.SelectorEventLoop):
    """An event loop that cannot watch a descriptor, as that of Windows; threads have to help."""

    def add_reader(self, *args: Any) -> None:  # type: ignore[override]
        raise NotImplementedError


def loop_factories() -> dict[str, LoopFactory]:
    """The event loops that a host has to work with."""
    import uvloop

    # The first one leaves a pipe open, for the signals of all that follow.
    uvloop.new_event_loop().close()
    return {
        "asyncio": asyncio.new_event_loop,
        "uvloop": uvloop.new_event_loop,
        "blind": BlindLoop,
    }


def run(main: Coroutine[Any, Any, T], loop_factory: LoopFactory | None = None) -> T:
    """The result of a coroutine, and none of the errors that an event loop only logs."""

    async def in_time() -> T:
        async with asyncio.timeout(120):
            return await main

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        problems: list[dict[str, Any]] = []
        runner.get_loop().set_exception_handler(lambda loop, context: problems.append(context))
        result = runner.run(in_time())
    assert problems == []
    return result


@types.coroutine
def cancelled_at(
    work: Coroutine[Any, Any, T], *points: int
) -> Generator[Any, Any, T]:  # and an awaitable
    """The result of a coroutine whose task is cancelled where it awaits for the nth time."""
    count = 0
    error: BaseException | None = None
    while True:
        try:
            awaited = work.send(None) if error is None else work.throw(error)
        except StopIteration as stop:
            result: T = stop.value
            return result
        count += 1
        if count in points:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        try:
            yield awaited
            error = None
        except BaseException as raised:
            error = raised


# --- what is left -----------------------------------------------------------------------------


def descriptors() -> dict[str, str]:
    """The descriptors that are open, and what each is."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found[name] = os.readlink(f"/proc/self/fd/{name}")
    return found


def running(words: str) -> list[int]:
    """The processes, but zombies, that have something in their command line."""
    found = []
    for place in Path("/proc").iterdir():
        if not place.name.isdigit() or int(place.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            line = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if words in line:
                found.append(int(place.name))
    return found


def children() -> list[int]:
    """Our own children, zombies and all."""
    found = []
    for place in Path("/proc").iterdir():
        if not place.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            parent = (place / "stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == os.getpid():
                found.append(int(place.name))
    return found


def session_of(pid: int) -> list[int]:
    """The processes, but zombies, of the session that a process leads, and its guardian."""
    found = []
    for place in Path("/proc").iterdir():
        if not place.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            state, _, _, session = (place / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(session) == pid and state not in "ZX":
                found.append(int(place.name))
    return found + running(f"ptipc-guardian {pid} ")


def wait_until(true: Callable[[], object], timeout: float = 20.0) -> None:
    """Wait for something to come true."""
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, "it has not come true"
        time.sleep(0.01)


@contextlib.contextmanager
def nothing_left() -> Iterator[list[int]]:
    """Check that no descriptor and no child is left.

    Nor is anything of what the processes that are put on the list have started.
    """
    before = descriptors(), children()
    pids: list[int] = []
    yield pids
    for pid in pids:
        wait_until(lambda pid=pid: session_of(pid) == [])  # type: ignore[misc]
    # What an earlier test has left may be gone by now.
    assert {*children()} <= {*before[1]}
    wait_until(lambda: threading.active_count() == 1)
    assert descriptors().keys() <= before[0].keys(), descriptors()


# --- somebody to connect to -------------------------------------------------------------------


class Echo(asyncio.Protocol):
    """Sends everything back, and reads no more than can be sent."""

    def __init__(self, guests: set[asyncio.Transport]) -> None:
        self._guests = guests

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not say so
        self._guests.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._guests.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)

    def pause_writing(self) -> None:
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()


@contextlib.asynccontextmanager
async def echo_server() -> AsyncIterator[Address]:
    """Where a server is that sends everything back."""
    guests: set[asyncio.Transport] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Echo(guests), "127.0.0.1", 0, backlog=512)
    try:
        yield Address(*server.sockets[0].getsockname())
    finally:
        server.close()
        for guest in list(guests):
            guest.abort()
        await server.wait_closed()


def unused_port() -> int:
    """A port at which nobody listens, and that the system gives to nobody who asks it."""
    return free_address().port


def end(pid: int) -> None:
    """End a process of a test's own that is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
