"""Implementations in any language, behind JSON lines on their standard input and output.

``serve`` is one end, for our own implementation; ``Adapter`` the other, for anybody's.  What they
say to each other is described in the README of the fixtures.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import IO, Any

from attrs import frozen

from ptipc.conformance.questions import Answer, Question, canonical

__all__ = ["PATIENCE", "PROTOCOL", "Adapter", "AdapterError", "Implementation", "serve"]

PROTOCOL = 1
"""The version of the protocol."""

PATIENCE = 5.0
"""How many seconds an answer may take."""

WAYS = ("split", "followed")
"""How an exchange can be played besides as it stands."""

LINE_LIMIT = 16 * 1024 * 1024
"""How many octets a line of an adapter may have."""


class AdapterError(Exception):
    """The adapter does not do its part."""


@frozen(kw_only=True)
class Implementation:
    """What an adapter says of the implementation behind it."""

    name: str
    version: str = ""
    language: str = ""
    ops: tuple[str, ...]
    """The operations that it can carry out."""
    dialects: tuple[str, ...] = ()
    """The editions that it knows; none: all."""
    ways: tuple[str, ...] = WAYS
    """How an exchange may be played besides as it stands: octet by octet (``split``), and with more
    octets behind its end (``followed``)."""

    def as_json(self) -> dict[str, Any]:
        """What is said at the start."""
        told: dict[str, Any] = {
            "version": PROTOCOL,
            "name": self.name,
            "implementation": self.version,
            "language": self.language,
            "ops": list(self.ops),
        }
        if self.dialects:
            told["dialects"] = list(self.dialects)
        if self.ways != WAYS:
            told["ways"] = list(self.ways)
        return told

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Implementation:
        """Read what was said at the start; raises ValueError for anything else."""
        if told.get("version") != PROTOCOL:
            raise ValueError(
                f"the version of the protocol is not {PROTOCOL}: {told.get('version')!r}"
            )
        words = {key: told.get(key, "") for key in ("name", "implementation", "language")}
        lists = {"ops": told.get("ops", []), "dialects": told.get("dialects", [])}
        lists["ways"] = told.get("ways", list(WAYS))
        for key, said in lists.items():
            if not isinstance(said, list) or not all(isinstance(each, str) for each in said):
                raise ValueError(f"{key} is no list of texts")
        if not words["name"] or not all(isinstance(said, str) for said in words.values()):
            raise ValueError("name, implementation and language are texts, and there is a name")
        return cls(
            name=words["name"],
            version=words["implementation"],
            language=words["language"],
            ops=tuple(lists["ops"]),
            dialects=tuple(lists["dialects"]),
            ways=tuple(lists["ways"]),
        )

    def knows(self, question: Question) -> bool:
        """Whether it can be asked that."""
        return (
            question.op in self.ops
            and question.dialect in (self.dialects or (question.dialect,))
            and not (question.ways - {*self.ways})
        )


# --- the implementation's end ---------------------------------------------------------------------


def serve(
    implementation: Implementation,
    answer: Callable[[Question], Answer],
    lines: Iterable[str],
    say: Callable[[str], object],
) -> None:
    """Answer what is asked in ``lines`` until it is over.

    ``say`` writes a text, with its line end, and flushes.  Raises LookupError or ValueError for
    what is no request.
    """
    for line in lines:
        asked = json.loads(line)
        command = asked.get("cmd")
        if command == "start":
            told = implementation.as_json()
        elif command == "run":
            script = asked.get("script")
            question = Question(
                op=asked["op"],
                dialect=asked["dialect"],
                input=asked["input"],
                script=None if script is None else tuple(script),
                result="",
            )
            told = {"seq": asked["seq"], **answer(question).as_json()}
        elif command == "stop":
            return
        else:
            raise ValueError(f"unknown command: {command!r}")
        say(json.dumps(told) + "\n")


# --- the tester's end -----------------------------------------------------------------------------


class Adapter:
    """A running adapter, to be asked one thing at a time.  Close it, or use it in ``with``.

    Raises AdapterError if it cannot be started or does not introduce itself.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environ: Mapping[str, str] | None = None,
        patience: float = PATIENCE,
        starting: float = 30.0,
    ) -> None:
        self.command = tuple(command)
        self._environ = environ
        self._starting = starting
        self._seq = 0
        self._patience = patience
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._errors: deque[str] = deque(maxlen=20)
        self._writing_until = math.inf
        self._closed = threading.Event()
        try:
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=None if environ is None else {**os.environ, **environ},
                # A group of its own, so that what an adapter starts ends with it.
                start_new_session=True,
            )
        except OSError as error:
            raise AdapterError(f"it cannot be started: {error}") from error
        self._threads = [
            threading.Thread(target=self._hear, args=(self._popen.stdout,), daemon=True),
            threading.Thread(target=self._hear_errors, args=(self._popen.stderr,), daemon=True),
            threading.Thread(target=self._watch, daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        try:
            told = self._request({"cmd": "start", "version": PROTOCOL}, starting)
            try:
                self.implementation = Implementation.from_json(told)
            except ValueError as error:
                said = canonical(told)[:200]
                raise AdapterError(f"its answer to start: {error}: {said}") from error
        except AdapterError:
            self.kill()
            self.close()
            raise

    def __enter__(self) -> Adapter:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def another(self) -> Adapter:
        """One more of the same."""
        return Adapter(
            self.command,
            environ=self._environ,
            patience=self._patience,
            starting=self._starting,
        )

    def ask(self, question: Question) -> Answer:
        """Put a question; raises AdapterError, and then the adapter cannot be used any more."""
        self._seq += 1
        asked = {"cmd": "run", "seq": self._seq, **question.as_json()}
        told = self._request(asked, self._patience)
        if told.get("seq") != self._seq or isinstance(told.get("seq"), bool):
            raise AdapterError(f"it answers {told.get('seq')!r} where {self._seq} was asked")
        try:
            return Answer.from_json(told)
        except ValueError as error:
            raise AdapterError(f"no answer: {error}: {canonical(told)[:200]}") from error

    def _request(self, asked: Mapping[str, Any], patience: float) -> Mapping[str, Any]:
        assert self._popen.stdin is not None
        self._writing_until = time.monotonic() + patience
        # One that has ended already may have said something before.
        with contextlib.suppress(OSError):
            self._popen.stdin.write(json.dumps(asked).encode() + b"\n")
            self._popen.stdin.flush()
        self._writing_until = math.inf
        try:
            line = self._lines.get(timeout=patience)
        except queue.Empty:
            raise AdapterError(f"no answer within {patience:g} s{self._last_words()}") from None
        if not line:
            raise AdapterError(self._end())
        if not line.endswith(b"\n"):
            raise AdapterError(f"a line that does not end, or of more than {LINE_LIMIT} octets")
        try:
            told = json.loads(line)
        except ValueError:
            raise AdapterError(f"no JSON: {line[:200]!r}") from None
        if not isinstance(told, dict):
            raise AdapterError(f"no JSON object: {line[:200]!r}")
        return told

    def _end(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(1)
        status = self._popen.poll()
        if status is None:
            return f"it closes its standard output{self._last_words()}"
        how = f"exit status {status}" if status >= 0 else f"signal {-status}"
        return f"it ended with {how}{self._last_words()}"

    def _last_words(self) -> str:
        if self._popen.poll() is not None:
            self._threads[1].join(1)
        return f"; its last words: {self._errors[-1]}" if self._errors else ""

    def _hear(self, stdout: IO[bytes]) -> None:
        with contextlib.suppress(ValueError, OSError):  # closed meanwhile
            while line := stdout.readline(LINE_LIMIT):
                self._lines.put(line)
        self._lines.put(b"")

    def _hear_errors(self, stderr: IO[bytes]) -> None:
        with contextlib.suppress(ValueError, OSError):
            while line := stderr.readline(4096):
                if text := line.decode("utf-8", "backslashreplace").strip():
                    self._errors.append(text)

    def _watch(self) -> None:
        """End an adapter that does not read what is written to it, which breaks the pipe."""
        while not self._closed.wait(0.2):
            if time.monotonic() > self._writing_until:
                self.kill()

    def kill(self) -> None:
        """End it, and what it has started, at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if sys.platform == "win32":
                self._popen.kill()
            else:
                os.killpg(self._popen.pid, signal.SIGKILL)

    def close(self) -> None:
        """Tell it to stop, and see to it that it does."""
        assert self._popen.stdin is not None
        with contextlib.suppress(OSError):
            self._popen.stdin.write(b'{"cmd": "stop"}\n')
        with contextlib.suppress(OSError):
            self._popen.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(2)
        self.kill()
        self._popen.wait()
        self._closed.set()
        for thread in self._threads:
            thread.join()
        for pipe in (self._popen.stdout, self._popen.stderr):
            assert pipe is not None
            pipe.close()
