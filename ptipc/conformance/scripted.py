"""A transport process that plays a script and reports what its host does to it.

It stands alone: it imports nothing of ptipc, so that it starts as fast as Python does.  Its script
is a file with a JSON object::

    {"report": "127.0.0.1:4711", "steps": [{"say": ["VERSION 1", "CMETHODS DONE"]}, {"wait": 0.5}]}

It connects to ``report`` and sends JSON lines: with what it was started, what it reads, which
signals come, and that the script was played.  When that connection ends, so does the process.

After its last step it goes on until it is asked to end: by the end of its standard input, if the
host has said that this counts, or by SIGTERM or SIGINT.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

__all__ = ["main"]

FLAG = "exit-on-stdin-close"


def _kind(fd: int) -> str:
    """What a standard stream is."""
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        return "closed"
    kinds = ((stat.S_ISFIFO, "pipe"), (stat.S_ISSOCK, "socket"), (stat.S_ISREG, "file"))
    return next((name for test, name in kinds if test(mode)), "device")


def _ignored() -> list[str]:
    """The signals that are ignored, or blocked, from the start."""
    # Python ignores these itself.
    own = {getattr(signal, name, None) for name in ("SIGPIPE", "SIGXFSZ")}
    found = {
        number.name
        for number in signal.Signals
        if number not in own and signal.getsignal(number) is signal.SIG_IGN
    }
    if hasattr(signal, "pthread_sigmask"):
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        found |= {signal.Signals(number).name for number in blocked}
    return sorted(found)


def _stdin_counts() -> bool:
    """Whether the host has said that the end of standard input is a request to end."""
    if os.environ.get("TOR_PT_EXIT_ON_STDIN_CLOSE") == "1":
        return True
    words = [word.lstrip("-").partition("=") for word in sys.argv[2:] if word.startswith("-")]
    return any(name == FLAG and value in ("", "1", "true") for name, _, value in words)


class Scripted:
    """The process: its script, and the connection on which it reports."""

    def __init__(self, script: Mapping[str, Any]) -> None:
        host, _, port = script["report"].rpartition(":")
        self._steps = script["steps"]
        self._link = socket.create_connection((host, int(port)))
        self._lock = threading.RLock()
        self._ignores: set[str] = set()
        self._linger = 0.0
        self._ending = threading.Event()

    def tell(self, event: str, **more: Any) -> None:
        """Report something."""
        line = json.dumps({"event": event, **more}) + "\n"
        with self._lock, contextlib.suppress(OSError):
            self._link.sendall(line.encode())

    def run(self) -> NoReturn:
        """Play the script, and then wait for the end."""
        ignored = _ignored()
        for name in ("SIGTERM", "SIGINT", "SIGHUP"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), self._on_signal)
        self.tell(
            "started",
            pid=os.getpid(),
            argv=sys.argv[2:],
            environ={name: text for name, text in os.environ.items() if name.startswith("TOR_PT_")},
            streams=[_kind(fd) for fd in range(3)],
            ignored=ignored,
        )
        for work in (self._watch_stdin, self._watch_link):
            threading.Thread(target=work, daemon=True).start()
        for step in self._steps:
            for verb, value in step.items():
                _STEPS[verb](self, value)
        self.tell("played")
        while True:
            # Not for ever: on some systems a wait without an end does not see signals.
            self._ending.wait(1.0)

    # --- what the host does

    def _on_signal(self, number: int, frame: object) -> None:
        name = signal.Signals(number).name
        self.tell("signal", what=name)
        if "signals" not in self._ignores:
            self._end()

    def _watch_stdin(self) -> None:
        while True:
            try:
                data = os.read(0, 4096)
            except OSError:
                data = b""
            if not data:
                break
            self.tell("stdin", what=repr(data))
        # A host that sends a signal and then ends: the signal came first, and is told first.
        time.sleep(0.1)
        self.tell("stdin-end")
        if "stdin" not in self._ignores and _stdin_counts():
            self._end()

    def _watch_link(self) -> None:
        with contextlib.suppress(OSError):
            while self._link.recv(4096):
                pass
        os._exit(3)

    def _end(self, code: int = 0) -> None:
        time.sleep(self._linger)
        self.tell("ended", what=f"exit {code}")
        os._exit(code)

    # --- the steps

    def say(self, lines: list[str]) -> None:
        """Write lines to standard output."""
        self._write(1, "".join(f"{line}\n" for line in lines).encode())

    def complain(self, lines: list[str]) -> None:
        """Write lines to standard error."""
        self._write(2, "".join(f"{line}\n" for line in lines).encode())

    def write(self, value: list[Any]) -> None:
        """Write octets, given as text, hexadecimal, or runs, to standard output."""
        self._write(1, b"".join(map(_piece, value)))

    def trickle(self, lines: list[str]) -> None:
        """Write lines octet by octet."""
        for octet in "".join(f"{line}\n" for line in lines).encode():
            self._write(1, bytes([octet]))
            time.sleep(0.002)

    def flood(self, what: Mapping[str, Any]) -> None:
        """Write a line many times, to ``stdout`` or ``stderr``."""
        fd = {"stdout": 1, "stderr": 2}[what["on"]]
        data = f"{what['line']}\n".encode()
        for _ in range(what["times"]):
            self._write(fd, data)

    def _write(self, fd: int, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(fd, data) :]
            except OSError as error:
                self.tell("unheard", what=error.strerror or "", stream=fd)
                return

    def wait(self, seconds: float) -> None:
        """Do nothing for a while."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            time.sleep(left)

    def close(self, name: str) -> None:
        """Close one of the outputs."""
        os.close({"stdout": 1, "stderr": 2}[name])

    def ignore(self, names: list[str]) -> None:
        """Do not end at the end of ``stdin``, or at ``signals``."""
        self._ignores |= set(names)

    def linger(self, seconds: float) -> None:
        """Take so long to end."""
        self._linger = seconds

    def exit(self, code: int) -> None:
        """End."""
        self._end(code)

    def crash(self, value: bool) -> None:
        """End by a signal of its own."""
        self.tell("ended", what="it crashes")
        signal.signal(signal.SIGABRT, signal.SIG_DFL)
        os.abort()


def _piece(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if "hex" in value:
        return bytes.fromhex(value["hex"])
    return bytes(value["repeat"].encode() * value["times"])


_STEPS: Mapping[str, Callable[[Scripted, Any], None]] = {
    name: getattr(Scripted, name)
    for name in (
        *("say", "complain", "write", "trickle", "flood"),
        *("wait", "close", "ignore", "linger", "exit", "crash"),
    )
}


def main() -> NoReturn:
    """Play the script in the file that the first word names."""
    with open(sys.argv[1], encoding="utf-8") as file:
        script = json.load(file)
    Scripted(script).run()


if __name__ == "__main__":
    main()
