"""The load: applications on one side of a client transport, and their targets on the other.

Usage: python benchmarks/load.py KIND [--through HOST:PORT --pid PID] [options of the kind]

All is one process with one epoll, so that it runs on one core, and it spends as little on an
operation as Python can: the kernel sends octets out of a file, and receives them into nowhere.
Without ``--through`` the applications connect to the targets themselves, which is the most that
this load can ask for.  Prints what it measured as JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import select
import socket
import statistics
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

BURST = 4
"""How many pieces are sent before what has arrived elsewhere is taken.

A sender that goes on until there is no room leaves its receiver waiting, and then waits itself.
"""

HOLD = 0.05
"""Seconds until a target closes: goptlib's dummy gives no connection up before both ends have."""

ARGS = b"cert=c3NIKzlyUDhkRzJOTEROMlh1Rnc2M2hJTy85TU5ObQ;iat-mode=0"
GREETING = b"\5\1\2"
ACCOUNT = b"\1" + bytes([len(ARGS)]) + ARGS + b"\1\0"
REPLIES = (2, 2, 10)
"""How many octets the transport answers to the greeting, the account and the request."""

WARM = 0.3
"""Seconds before anything is measured."""

Handler: TypeAlias = Callable[[], object]
Taker: TypeAlias = Callable[[socket.socket], object]
Place: TypeAlias = tuple[str, int]


class Loop:
    """Calls a handler for every socket that is ready."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}

    def add(self, stream: socket.socket, handler: Handler, events: int = select.EPOLLIN) -> None:
        self._epoll.register(stream, events)
        self._handlers[stream.fileno()] = handler

    def change(self, stream: socket.socket, handler: Handler, events: int) -> None:
        self._epoll.modify(stream, events)
        self._handlers[stream.fileno()] = handler

    def close(self, stream: socket.socket) -> None:
        if stream.fileno() >= 0:
            del self._handlers[stream.fileno()]
            stream.close()

    def once(self) -> None:
        for fd, _ in self._epoll.poll(0.02):
            if handler := self._handlers.get(fd):
                handler()

    def until(self, done: Callable[[], bool]) -> None:
        end = time.monotonic() + 60
        while not done():
            self.once()
            if time.monotonic() > end:
                raise SystemExit("the load has got stuck")

    def pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > end)


class Load:
    """What all kinds of load have in common: the loop, the targets, and the way there."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.loop = Loop()
        host, _, port = options.through.rpartition(":")
        self._proxy: Place | None = (host, int(port)) if port else None

    def target(self, take: Taker) -> Place:
        """Listen at a place; every connection there is taken."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        listener.setblocking(False)

        def accept() -> None:
            with contextlib.suppress(BlockingIOError):
                while True:
                    stream, _ = listener.accept()
                    stream.setblocking(False)
                    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    take(stream)

        self.loop.add(listener, accept)
        place: Place = listener.getsockname()
        return place

    def dial(self, target: Place, ready: Taker) -> None:
        """Connect to a target, through the transport if there is one."""
        stream = socket.create_connection(self._proxy or target)
        stream.setblocking(False)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._proxy is None:
            self.loop.add(stream, lambda: ready(stream), select.EPOLLOUT)
            return
        request = b"\5\1\0\1" + socket.inet_aton(target[0]) + target[1].to_bytes(2, "big")
        to_say = iter((ACCOUNT, request))
        expected = iter(REPLIES)
        missing = next(expected)

        def step() -> None:
            nonlocal missing
            answer = stream.recv(missing)
            missing -= len(answer)
            if missing:
                if not answer:
                    raise SystemExit("the transport has closed a connection")
                return
            missing = next(expected, 0)
            if missing:
                stream.send(next(to_say))
            elif answer[1:2] == b"\0":
                ready(stream)
            else:
                raise SystemExit(f"the transport has refused a connection: {answer!r}")

        self.loop.add(stream, step)
        stream.send(GREETING)

    def dial_all(self, target: Place, count: int) -> list[socket.socket]:
        """Connect so many times, some at once."""
        streams: list[socket.socket] = []
        for number in range(0, count, 32):
            enough = min(number + 32, count)
            for _ in range(number, enough):
                self.dial(target, streams.append)
            self.loop.until(functools.partial(_is_long, streams, enough))
        return streams


def _is_long(streams: list[socket.socket], enough: int) -> bool:
    return len(streams) >= enough


class Meter:
    """Time, and CPU that was spent by the load and by the transport process."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._begun = self._now()

    def _now(self) -> tuple[float, float, float]:
        return time.perf_counter(), time.process_time(), self._proxy()

    def _proxy(self) -> float:
        # The kernel's number for the CPU clock of a process, with its threads that have ended.
        return time.clock_gettime(~self._pid << 3 | 2) if self._pid else 0.0

    def report(self, count: float) -> dict[str, float]:
        """What so many operations have taken since the beginning."""
        wall, own, proxy = (now - then for now, then in zip(self._now(), self._begun, strict=True))
        measured = {"rate": count / wall, "load_busy": 100 * own / wall}
        if self._pid:
            measured["proxy_us"] = proxy * 1e6 / count
            measured["proxy_busy"] = 100 * proxy / wall
        return measured


# --- the kinds of load ----------------------------------------------------------------------------


def handshakes(load: Load) -> dict[str, float]:
    """Connections that are closed as soon as they are there, by some workers at once."""
    loop = load.loop
    held: deque[tuple[float, socket.socket]] = deque()
    count = 0

    def hold(stream: socket.socket) -> None:
        loop.add(stream, lambda: loop.close(stream))
        held.append((time.monotonic() + HOLD, stream))

    def done(stream: socket.socket) -> None:
        nonlocal count
        count += 1
        loop.close(stream)
        load.dial(target, done)

    def run(seconds: float) -> None:
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            loop.once()
            while held and held[0][0] < now:
                loop.close(held.popleft()[1])

    target = load.target(hold)
    for _ in range(load.options.connections):
        load.dial(target, done)
    run(WARM)
    count = 0
    meter = Meter(load.options.pid)
    run(load.options.seconds)
    return meter.report(count)


def relay(load: Load) -> dict[str, float]:
    """Many octets, up from the applications, down to them, or both at once; counted in MB."""
    loop, options = load.loop, load.options
    quota = options.megabytes * 1_000_000 // options.connections
    received = 0
    source = os.memfd_create("source")
    os.write(source, bytes(range(256)) * 4096)
    nowhere = bytearray(1 << 22)
    targets: list[socket.socket] = []

    def take(stream: socket.socket) -> None:
        loop.add(stream, lambda: None, 0)
        targets.append(stream)

    def start(stream: socket.socket, left: int) -> None:
        def exchange() -> None:
            nonlocal left, received
            with contextlib.suppress(BlockingIOError):
                for _ in range(BURST):
                    if left:
                        left -= os.sendfile(stream.fileno(), source, 0, min(left, 1 << 17))
                        if not left:
                            loop.change(stream, exchange, select.EPOLLIN)
            with contextlib.suppress(BlockingIOError):
                received += stream.recv_into(nowhere, len(nowhere), socket.MSG_TRUNC)

        events = select.EPOLLIN | select.EPOLLOUT if left else select.EPOLLIN
        loop.change(stream, exchange, events)

    clients = load.dial_all(load.target(take), options.connections)
    loop.until(lambda: len(targets) == options.connections)
    up, down = options.direction != "down", options.direction != "up"
    meter = Meter(options.pid)
    for stream in clients:
        start(stream, quota * up)
    for stream in targets:
        start(stream, quota * down)
    expected = quota * options.connections * (up + down)
    loop.until(lambda: received == expected)
    return meter.report(expected / 1e6)


def round_trips(load: Load) -> dict[str, float]:
    """Messages that go to a target and come back, one after the other on each connection."""
    loop, options = load.loop, load.options
    message = bytes(options.size)
    clients = load.dial_all(load.target(_echo(loop)), options.connections)
    times: list[float] = []

    def start(stream: socket.socket) -> None:
        sent = time.perf_counter()
        missing = options.size

        def step() -> None:
            nonlocal sent, missing
            missing -= len(stream.recv(missing))
            if not missing:
                now = time.perf_counter()
                times.append(now - sent)
                sent, missing = now, options.size
                stream.send(message)

        loop.change(stream, step, select.EPOLLIN)
        stream.send(message)

    for stream in clients:
        start(stream)
    loop.pause(WARM)
    times.clear()
    meter = Meter(options.pid)
    loop.pause(options.seconds)
    measured = meter.report(len(times))
    return measured | {"median_us": 1e6 * statistics.median(times)}


def idle(load: Load) -> dict[str, float]:
    """Connections that have carried some octets, and carry none any more."""
    loop, options = load.loop, load.options
    target = load.target(_echo(loop))
    for stream in load.dial_all(target, 64):  # what the transport needs once
        loop.close(stream)
    loop.pause(WARM)
    before = _resident(options.pid)
    clients = load.dial_all(target, options.connections)
    for stream in clients:
        _one_trip(loop, stream, bytes(options.size))
    loop.pause(WARM)
    return {"kilobytes": (_resident(options.pid) - before) / options.connections}


def _one_trip(loop: Loop, stream: socket.socket, message: bytes) -> None:
    missing = len(message)

    def step() -> None:
        nonlocal missing
        missing -= len(stream.recv(missing))

    loop.change(stream, step, select.EPOLLIN)
    stream.send(message)
    loop.until(lambda: missing == 0)


def _echo(loop: Loop) -> Taker:
    def take(stream: socket.socket) -> None:
        def echo() -> None:
            if data := stream.recv(65536):
                stream.send(data)
            else:
                loop.close(stream)

        loop.add(stream, echo)

    return take


def _resident(pid: int) -> int:
    """How much memory a process occupies, in kB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


KINDS = {
    "handshakes": handshakes,
    "relay": relay,
    "round_trips": round_trips,
    "idle": idle,
}


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("kind", choices=KINDS)
    options.add_argument("--through", default="")
    options.add_argument("--pid", type=int, default=0)
    options.add_argument("--connections", type=int, default=16)
    options.add_argument("--seconds", type=float, default=1.0)
    options.add_argument("--megabytes", type=int, default=1000)
    options.add_argument("--direction", choices=("up", "down", "duplex"), default="up")
    options.add_argument("--size", type=int, default=1)
    load = Load(options.parse_args())
    print(json.dumps(KINDS[load.options.kind](load)))


if __name__ == "__main__":
    main()
