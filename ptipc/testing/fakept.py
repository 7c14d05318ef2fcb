"""A transport process that says what it is told to, for tests of hosts.

::

    fake = write_fake_pt(path, "VERSION 1", Pause(0.5), Listen("foo"), "CMETHODS DONE")
    subprocess.Popen(fake.command)
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TypeAlias

from attrs import asdict, frozen

__all__ = ["Exit", "FakePT", "Listen", "Pause", "Raw", "Stderr", "Step", "write_fake_pt"]


@frozen
class Stderr:
    """A line on standard error."""

    line: str


@frozen
class Raw:
    """Octets on standard output as they are: half a line, CR, what is not text."""

    octets: bytes


@frozen
class Pause:
    """So many seconds pass."""

    seconds: float


@frozen
class Exit:
    """The process ends with this exit status."""

    code: int = 0


@frozen
class Listen:
    """A transport is up: a port is opened, and its line is said, with the port in ``{address}``.

    Whoever connects is sent ``answer``, and then what he sends himself (``echo``), or he is left
    alone.
    """

    transport: str
    line: str = "CMETHOD {transport} socks5 {address}"
    answer: bytes = b""
    echo: bool = False


Step: TypeAlias = str | Stderr | Raw | Pause | Exit | Listen
"""What the process does next; a text is a line on standard output."""


@frozen
class FakePT(os.PathLike[str]):
    """A program that was written; it can be started as it is, or by its ``command``."""

    path: Path

    @property
    def command(self) -> list[str]:
        """What starts it, on any operating system."""
        return [sys.executable, "-I", "-S", str(self.path)]

    def __fspath__(self) -> str:
        return str(self.path)


def write_fake_pt(path: Path, *steps: Step, deaf: bool = False) -> FakePT:
    """Write a program that does some steps, and then waits for the end of its standard input.

    ``deaf``: it ends neither then, nor at a signal that can be ignored.
    """
    told = json.dumps([_as_json(step) for step in steps])
    path.write_text(_PROGRAM.format(python=sys.executable, steps=told, deaf=deaf), "utf-8")
    path.chmod(0o755)
    return FakePT(path)


def _as_json(step: Step) -> dict[str, object]:
    if isinstance(step, str):
        return {"do": "Line", "line": step}
    values = {
        name: value.hex() if isinstance(value, bytes) else value
        for name, value in asdict(step).items()
    }
    return {"do": type(step).__name__, **values}


_PROGRAM = """\
#!{python} -IS
import json, os, signal, socket, sys, threading, time

DEAF = {deaf}


def say(stream, data):
    while data:
        data = data[os.write(stream, data):]


def serve(connection, answer, echo):
    try:
        connection.sendall(answer)
        while data := connection.recv(65536):
            if echo:
                connection.sendall(data)
        connection.close()
    except OSError:
        pass


def accept(listener, answer, echo):
    while True:
        connection = listener.accept()[0]
        threading.Thread(target=serve, args=(connection, answer, echo), daemon=True).start()


def listen(step):
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    address = "127.0.0.1:%d" % listener.getsockname()[1]
    args = (listener, bytes.fromhex(step["answer"]), step["echo"])
    threading.Thread(target=accept, args=args, daemon=True).start()
    line = step["line"].replace("{{transport}}", step["transport"])
    say(1, line.replace("{{address}}", address).encode() + b"\\n")


if DEAF:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
for step in json.loads({steps!r}):
    if step["do"] == "Line":
        say(1, step["line"].encode("utf-8", "surrogateescape") + b"\\n")
    elif step["do"] == "Stderr":
        say(2, step["line"].encode("utf-8", "surrogateescape") + b"\\n")
    elif step["do"] == "Raw":
        say(1, bytes.fromhex(step["octets"]))
    elif step["do"] == "Pause":
        time.sleep(step["seconds"])
    elif step["do"] == "Listen":
        listen(step)
    else:
        os._exit(step["code"])
while os.read(0, 4096) or DEAF:
    time.sleep(0.01)
os._exit(0)
"""
