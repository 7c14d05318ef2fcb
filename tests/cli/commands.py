"""The command ``ptipc`` as a process, for as long as a test needs it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shlex
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.interop.processes import is_running, wait_for_end

PTIPC = [sys.executable, "-m", "ptipc"]
HELLO = [sys.executable, str(Path(__file__).parents[2] / "examples" / "hello.py")]
PATIENCE = 30.0


class Running:
    """A process whose outputs are read all the time; it has not ended before its time."""

    def __init__(self, command: list[str], **settings: Any) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **settings,
        )
        assert self.process.stdout is not None
        self._begin(self.process.stdout.fileno())

    def _begin(self, output: int) -> None:
        self._said = b""
        self._ended = False
        self._news = threading.Condition()
        self._reading = threading.Thread(target=self._read, args=(output,))
        self._reading.start()

    def _read(self, output: int) -> None:
        with contextlib.suppress(OSError):  # what a terminal has at its end
            while data := os.read(output, 65536):
                with self._news:
                    self._said += data
                    self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    @property
    def said(self) -> str:
        """Everything it wrote so far."""
        with self._news:
            return self._said.decode()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until it has written something that a pattern finds."""

        def found() -> re.Match[str] | None:
            return re.search(pattern, self._said.decode(), re.MULTILINE)

        with self._news:
            self._news.wait_for(lambda: found() or self._ended, PATIENCE)
            match = found()
        assert match is not None, f"it has not said {pattern!r}:\n{self.said}"
        return match

    def children(self) -> list[int]:
        """The processes that it has started, and that have not ended."""
        return [pid for pid in _children_of(self.process.pid) if is_running(pid)]

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Wait until it has ended; its exit status."""
        status = self.process.wait(PATIENCE)
        self._reading.join(PATIENCE)
        return status


def _children_of(parent: int) -> list[int]:
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (place / "stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == parent:
                    found.append(int(place.name))
    return found


@contextlib.contextmanager
def running(*command: str, **settings: Any) -> Iterator[Running]:
    """Run a command; afterwards nothing is left of it, nor of what it had started when ready."""
    process = Running(list(command), **settings)
    started: list[int] = []
    try:
        yield process
        started = process.children()
        process.end()
    finally:
        started = started or process.children()
        with contextlib.suppress(ProcessLookupError):
            process.process.kill()
        process.end()
        for stream in (process.process.stdin, process.process.stdout):
            if stream is not None:
                stream.close()
    for pid in started:
        wait_for_end(pid)


@contextlib.contextmanager
def ptipc(*words: str, **settings: Any) -> Iterator[Running]:
    """Run ``ptipc``."""
    with running(*PTIPC, *words, **settings) as process:
        yield process


def result_of(*words: str, **settings: Any) -> tuple[int, str]:
    """The exit status of ``ptipc``, and what it writes."""
    settings.setdefault("stdin", subprocess.DEVNULL)
    done = subprocess.run(
        [*PTIPC, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE,
        check=False,
        **settings,
    )
    return done.returncode, done.stdout.decode()


def wait_until(true: Callable[[], object]) -> None:
    """Wait for something to come true."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "it has not come true"
        time.sleep(0.01)


# --- terminals ------------------------------------------------------------------------------------


class OnTerminal(Running):
    """A process with a terminal of its own, of 80 columns, on which keys can be pressed."""

    def __init__(self, command: list[str], **settings: Any) -> None:
        self.keys, screen = os.openpty()
        fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.process = subprocess.Popen(
            command,
            stdin=screen,
            stdout=screen,
            stderr=screen,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            **settings,
        )
        os.close(screen)
        self._begin(self.keys)

    def interrupt(self) -> None:
        os.write(self.keys, b"\x03")


@contextlib.contextmanager
def on_terminal(*command: str, **settings: Any) -> Iterator[OnTerminal]:
    """Run a command on a terminal."""
    environ = {**os.environ, "TERM": "xterm", **settings.pop("env", {})}
    process = OnTerminal(list(command), env=environ, **settings)
    try:
        yield process
        process.end()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.process.kill()
        process.end()
        os.close(process.keys)


# --- somebody to connect to -----------------------------------------------------------------------


@contextlib.contextmanager
def tcp_server(serve: Callable[[socket.socket], object]) -> Iterator[int]:
    """A server on loopback that serves each of its clients in a thread; its port."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        threads = []

        def one(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                serve(connection)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    thread = threading.Thread(target=one, args=(listener.accept()[0],))
                    thread.start()
                    threads.append(thread)

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for thread in [accepting, *threads]:
                thread.join(PATIENCE)


def echo(connection: socket.socket) -> None:
    """Send everything back, and then the end."""
    while data := connection.recv(65536):
        connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def udp_echo() -> Iterator[int]:
    """A server on loopback that sends every datagram back; its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def serve() -> None:
            while (found := server.recvfrom(65536))[0] != b"the end":
                server.sendto(*found)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.sendto(b"the end", server.getsockname())
            thread.join(PATIENCE)


def connect(port: int) -> socket.socket:
    """A connection to a port on loopback."""
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


def receive_all(connection: socket.socket) -> bytes:
    """What comes from a connection until its end."""
    pieces = []
    while data := connection.recv(65536):
        pieces.append(data)
    return b"".join(pieces)


def receive_exactly(connection: socket.socket, size: int) -> bytes:
    """So many octets of a connection."""
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        assert piece, "the connection has ended too early"
        data += piece
    return data


def there_and_back(connection: socket.socket, data: bytes) -> bytes:
    """Send data, and receive as much meanwhile."""
    sending = threading.Thread(target=connection.sendall, args=(data,))
    sending.start()
    try:
        return receive_exactly(connection, len(data))
    finally:
        sending.join(PATIENCE)


# --- tunnels --------------------------------------------------------------------------------------


def client_command(server: Running) -> list[str]:
    """The command that the server's end of a tunnel says is for the client."""
    return shlex.split(server.wait_for(r"^    ptipc (.*)$")[1])


def local_port(client: Running) -> int:
    """Where the client's end of a tunnel listens."""
    return int(client.wait_for(r"127\.0\.0\.1:(\d+) leads")[1])
