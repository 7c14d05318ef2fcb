"""A host that starts a process as it is told and writes down what it says, right or wrong.

For tests of transport processes: a real host (``ptipc.blocking.host``) ends one that misbehaves.

::

    with FakeHost(["./my-transport"], client=["foo"]) as host:
        assert host.wait_for("CMETHODS DONE")
        assert host.lines[0] == "VERSION 1"
        assert host.close() == 0
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from ptipc.core.codecs import ADDRESS, Address
from ptipc.core.config import Config
from ptipc.core.dialects import PT1, Dialect, Role

__all__ = ["FakeHost"]

TIMEOUT = 10.0
"""How many seconds are waited for anything."""


class FakeHost:
    """A process that was started, and what it has said; a context manager that kills it.

    ``client`` or ``server`` are the names to ask for (``server``: perhaps with their addresses);
    other ``settings`` are those of ``Config``.  ``set`` are variables as they are, over all
    others; one that is None is left out.  ``flags`` stand behind those of the edition.

    Raises LocalProtocolError for settings that cannot be said, and OSError if there is no such
    program.
    """

    def __init__(
        self,
        command: Iterable[str | os.PathLike[str]],
        *,
        client: Iterable[str] = (),
        server: Mapping[str, Address | str] | Iterable[str] = (),
        dialect: Dialect = PT1,
        set: Mapping[str, str | None] | None = None,
        flags: Iterable[str] = (),
        **settings: Any,
    ) -> None:
        self.lines: list[str] = []
        """What it has said on standard output, line by line."""
        self.stderr: list[str] = []
        """And on standard error."""
        self._said = threading.Condition()
        settings = {"exit_on_stdin_close": True, **settings}
        role = Role.CLIENT if client else Role.SERVER
        if role is Role.SERVER:
            named = server if isinstance(server, Mapping) else dict.fromkeys(server, "127.0.0.1:0")
            settings["bind_addresses"] = {
                name: ADDRESS.parse(where) if isinstance(where, str) else where
                for name, where in named.items()
            }
            settings.setdefault("target", Address("127.0.0.1", 9))
        with contextlib.ExitStack() as stack:
            if "state" not in settings:
                place = tempfile.TemporaryDirectory(prefix="ptipc-fake-host-")
                settings["state"] = stack.enter_context(place)
            config = Config(
                dialect=dialect, role=role, transports=tuple(client or server), **settings
            )
            self._start(command, config, set or {}, flags)
            self._owned = stack.pop_all()

    def _start(
        self,
        command: Iterable[str | os.PathLike[str]],
        config: Config,
        set: Mapping[str, str | None],
        flags: Iterable[str],
    ) -> None:
        said = config.to_process()
        environment = said.environment(os.environ)
        for name, text in set.items():
            environment.pop(name, None)
            if text is not None:
                environment[name] = text
        self.environment: Mapping[str, str] = environment
        """All variables of the process."""
        self.command = [*(os.fspath(word) for word in command), *said.argv, *flags]
        """What was started."""
        self._process = subprocess.Popen(
            self.command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._readers = [
            threading.Thread(target=self._read, args=each, daemon=True)
            for each in ((self._process.stdout, self.lines), (self._process.stderr, self.stderr))
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> FakeHost:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.wait()
        for reader in self._readers:
            reader.join(TIMEOUT)
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._owned.close()

    # --- what it says

    def _read(self, stream: Any, lines: list[str]) -> None:
        with stream:
            for line in stream:
                with self._said:
                    lines.append(line.removesuffix(b"\n").decode("utf-8", "surrogateescape"))
                    self._said.notify_all()
        with self._said:
            self._said.notify_all()

    def wait_for(self, pattern: str, timeout: float = TIMEOUT) -> str | None:
        """The first line, on either stream, that fits a shell pattern; None if none comes."""

        def found() -> str | None:
            lines = [*self.lines, *self.stderr]
            return next((line for line in lines if fnmatchcase(line, pattern)), None)

        def over() -> bool:
            return found() is not None or not any(each.is_alive() for each in self._readers)

        with self._said:
            self._said.wait_for(over, timeout)
            return found()

    # --- its end

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def close_stdin(self) -> None:
        """Let it read the end of its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def signal(self, number: int = signal.SIGTERM) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def wait(self, timeout: float = TIMEOUT) -> int:
        """The exit status, once it has ended and was heard to the end.

        Raises subprocess.TimeoutExpired.
        """
        status = self._process.wait(timeout)
        for reader in self._readers:
            reader.join(timeout)
        return status

    def close(self, timeout: float = TIMEOUT) -> int:
        """Close its standard input and wait for its end; raises subprocess.TimeoutExpired."""
        self.close_stdin()
        return self.wait(timeout)
