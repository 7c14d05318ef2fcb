"""The host's side: start a transport process, hear what it says, dial through it, and end it.

::

    async with launch(["obfs4proxy"], client=["obfs4"]) as process:
        stream = await process.dial("obfs4", Address("192.0.2.7", 443), {"cert": "..."})
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Unpack

from attrs import define, evolve, field

from ptipc.aio.dialing import DIAL_TIMEOUT, Port, PortDialer, route
from ptipc.aio.events import Events, Hearers
from ptipc.aio.extorserver import ExtOrPortServer
from ptipc.aio.process import Process
from ptipc.aio.streams import SocketStream
from ptipc.children import Child, nature
from ptipc.core.bridgelines import BridgeLine
from ptipc.core.codecs import Address, LogLevel, UpstreamProxy
from ptipc.core.config import Config
from ptipc.core.diagnosis import (
    end_hint,
    is_final,
    log_level,
    log_text,
    passes,
    start_hint,
    still_missing,
)
from ptipc.core.dialects import Stream
from ptipc.core.errors import LocalProtocolError
from ptipc.core.escapes import NO_ARGS, Args
from ptipc.core.launch import (
    LaunchError,
    LaunchSettings,
    Path,
    Plan,
    ProcessEnded,
    Recent,
    plan,
    proxy_of,
    unmet,
)
from ptipc.core.messages import CMethod, Log, Message, SMethod, Status, StatusVersion
from ptipc.core.session import Event, Heard, HostSession, StderrText
from ptipc.osdep import exit_words

__all__ = ["LaunchError", "ProcessEnded", "TransportProcess", "launch", "launch_plan"]

GRACE = 0.25
"""How many seconds after a failure the process may take to end, so that we can say how it did."""


@define(eq=False)
class TransportProcess:
    """A transport process that we started.

    ``launch`` makes one that is ready and stops it in the end; who makes one otherwise has to
    ``start`` and to ``stop`` it.
    """

    plan: Plan
    """What it was started with."""
    transcript: Recent[Event] = field(factory=Recent, init=False)
    """What the process said, the last megabyte of it."""
    exited: asyncio.Event = field(factory=asyncio.Event, init=False)
    """Set once the process has ended and was heard to the end."""
    implementation: StatusVersion | None = field(default=None, init=False)
    """What program it says it is."""
    _lines: int = field(default=0, init=False)
    """How many lines it has said."""
    _session: HostSession = field(init=False)
    _stderr: Recent[StderrText] = field(init=False)
    _settled: asyncio.Event = field(factory=asyncio.Event, init=False)
    _process: Process | None = field(default=None, init=False)
    _hearers: Hearers[Event] = field(init=False)
    _log: logging.Logger = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._session = self.plan.session()
        self._stderr = Recent(limit=100, size=1 << 16)
        self._hearers = Hearers(self.plan.on_event)
        # A dot would make it the child of another logger.
        self._log = logging.getLogger(f"ptipc.host.{self.plan.name.replace('.', '_')}")

    # --- what it is

    @property
    def command(self) -> tuple[str, ...]:
        """What was started."""
        return self.plan.command

    @property
    def config(self) -> Config:
        """What it was told."""
        return self.plan.config

    @property
    def pid(self) -> int | None:
        """The number of the process; None if it was never started."""
        return None if self._process is None else self._process.child.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal; None while the process runs."""
        return None if self._process is None else self._process.child.returncode

    @property
    def stderr(self) -> list[str]:
        """The last lines that it wrote to stderr."""
        return [event.line for event in self._stderr]

    @property
    def methods(self) -> Mapping[str, CMethod | SMethod]:
        """The transports that are up, under their names."""
        return self._session.methods

    @property
    def errors(self) -> Mapping[str, str]:
        """The transports that could not be started, and what the process said of each."""
        return self._session.errors

    def method(self, transport: str) -> CMethod | SMethod:
        """What a transport said when it came up.  Raises LookupError if it is not up."""
        try:
            return self.methods[transport]
        except KeyError:
            reason = self.errors.get(transport, "the process did not offer it")
            raise LookupError(f"no transport {transport!r}: {reason}") from None

    def bridge_line(self, transport: str, fingerprint: str | None = None) -> BridgeLine:
        """What a client needs to know of a server's transport.  Raises LookupError."""
        method = self.method(transport)
        args = method.args if isinstance(method, SMethod) else NO_ARGS
        return BridgeLine(
            transport=transport, address=method.address, fingerprint=fingerprint, args=args
        )

    def events(self, *, past: bool = True) -> Events[Event]:
        """What the process says, as an async iterator that ends with it.

        With ``past`` it begins with what is in the transcript.  Any number may be had; one that is
        not read in time loses its oldest events.
        """
        return self._hearers.listen(self, self.transcript if past else (), Recent())

    # --- through it

    def dialer(
        self,
        transport: str,
        args: Mapping[str, Any] = NO_ARGS,
        *,
        timeout: float | None = DIAL_TIMEOUT,
    ) -> PortDialer:
        """A dialer through one of the transports.

        Raises LookupError if it is not up, or a server's.
        """
        self._client_method(transport)

        async def find() -> Port:
            return self.port(transport)

        return PortDialer(args=args, timeout=timeout, find=find)

    async def dial(
        self,
        transport: str | BridgeLine,
        target: Address | None = None,
        args: Mapping[str, Any] = NO_ARGS,
        *,
        timeout: float | None = DIAL_TIMEOUT,
    ) -> SocketStream:
        """Connect to a target through one of the transports, or to the bridge of a bridge line.

        ``timeout`` is in seconds.  Raises LookupError if the transport is not up, and what
        ``PortDialer`` says.
        """
        name, target, given = route(transport, target, args)
        stream = await self.dialer(name, given, timeout=timeout).dial(target)
        assert isinstance(stream, SocketStream)
        return stream

    async def dial_socket(
        self,
        transport: str | BridgeLine,
        target: Address | None = None,
        args: Mapping[str, Any] = NO_ARGS,
        *,
        timeout: float | None = DIAL_TIMEOUT,
        blocking: bool = False,
    ) -> socket.socket:
        """As ``dial``, but a connected socket, from which nothing has been read ahead."""
        name, target, given = route(transport, target, args)
        dialer = self.dialer(name, given, timeout=timeout)
        return await dialer.dial_socket(target, blocking=blocking)

    async def open_connection(
        self,
        transport: str | BridgeLine,
        target: Address | None = None,
        args: Mapping[str, Any] = NO_ARGS,
        *,
        timeout: float | None = DIAL_TIMEOUT,
        **options: Any,
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """As ``dial``, but with the shape and options of ``asyncio.open_connection``."""
        name, target, given = route(transport, target, args)
        return await self.dialer(name, given, timeout=timeout).open_connection(target, **options)

    def _client_method(self, transport: str) -> CMethod:
        method = self.method(transport)
        if not isinstance(method, CMethod):
            raise LookupError(f"{transport!r} is a server's transport, which dials nobody")
        return method

    def port(self, transport: str) -> Port:
        """Where one of the transports is reached.

        Raises LookupError if it is not up, ProcessEnded if the process has ended.
        """
        method = self._client_method(transport)
        if self.returncode is not None:
            words = exit_words(self.returncode)
            raise ProcessEnded(f"the process of {transport} has ended with {words}")
        return Port(
            transport=transport,
            protocol=method.protocol,
            address=method.address,
            dialect=self._session.dialect or self.config.dialect,
            ended=self._has_ended,
            said=functools.partial(self._said_since, self._lines),
        )

    def upstream_proxy(self, transport: str, args: Mapping[str, Any] = NO_ARGS) -> UpstreamProxy:
        """One of the transports as the upstream proxy of another process: ``launch(proxy=...)``.

        Raises LookupError if it is not up, LocalProtocolError if a proxy cannot be had of it.
        """
        return proxy_of(self._client_method(transport), Args(args))

    async def _has_ended(self) -> str | None:
        assert self._process is not None
        if not await self._process.wait(GRACE):
            return None
        return exit_words(self.returncode)

    def _said_since(self, count: int) -> list[str]:
        """What it said for people to read since it had said so many lines, the last of that."""
        new = self._lines - count
        return [
            event.line
            for event in tuple(self.transcript)[-new:]
            if new and isinstance(event, Heard) and _is_for_people(event.message)
        ][-3:]

    # --- its life

    async def start(self) -> None:
        """Start the process and wait until all its transports are up or have failed.

        Raises LaunchError if it cannot be started, refuses, ends or is not ready in time, or if
        what is required has not come up.
        """
        if self._process is not None:
            raise LocalProtocolError("a process is started once")
        self._process = self._spawn()
        try:
            async with asyncio.timeout(self.plan.timeout):
                await self._settled.wait()
        except TimeoutError:
            text = f"not ready within {self.plan.timeout:g} seconds"
            text += f": still waiting for {still_missing(self._session)}"
            raise self._error(text) from None
        failure = self._session.failure
        missing = unmet(self.plan.require, self._session)
        if failure is None and missing is None and not self._process.child.has_ended():
            return
        # It tells more if it has its exit status, and most processes then end by themselves.
        await self._process.wait(GRACE)
        status = "" if self.returncode is None else f" with {exit_words(self.returncode)}"
        if failure is not None and failure.code != "eof":
            raise self._error(str(failure))
        if failure is not None and not status:
            raise self._error("it closed its outputs before it was ready")
        if failure is not None:
            raise self._error(f"ended{status} before it was ready")
        if missing is not None:
            raise self._error(missing + (f", and it ended{status}" if status else ""))
        raise self._error(f"ended{status} as soon as it was ready")

    def _spawn(self) -> Process:
        words = self.plan.command
        inherited = os.environ if self.plan.environ is None else self.plan.environ
        invocation = self.plan.invocation()
        environ = invocation.environment(inherited)
        try:
            child = Child(
                [*words, *invocation.argv],
                environ=environ,
                cwd=self.plan.cwd,
                umask=self.plan.umask,
                guard=self.plan.guard,
            )
        except OSError as error:
            raise self._start_error(error, environ) from error
        self._log.debug("started as process %d: %r", child.pid, words)
        return Process(child, self.receive, self.end)

    def _start_error(self, error: OSError, environ: Mapping[str, str]) -> LaunchError:
        program = self.plan.command[0]
        hint = start_hint(error.errno, nature(program, environ))
        text = f"cannot start {program!r}"
        if error.filename not in (None, program):
            text += f", for {error.filename!r} is not as it should be"
            hint = start_hint(error.errno, "nothing") if error.filename else hint
        text += f": {error.strerror} (error {error.errno}"
        text += f", as user {os.geteuid()})" if hasattr(os, "geteuid") else ")"
        return LaunchError(text, errno=error.errno, hint=hint, final=not passes(error.errno))

    def _error(self, text: str) -> LaunchError:
        status = None if self.returncode is None else exit_words(self.returncode)
        hint = end_hint(
            self._session,
            self.transcript,
            status,
            proxy=self.config.proxy is not None,
            flags=self.config.dialect.flags_preferred,
        )
        return LaunchError(
            text,
            transcript=self.transcript,
            stderr=self.stderr,
            returncode=self.returncode,
            hint=hint,
            final=is_final(self._session),
        )

    async def stop(self, timeouts: Sequence[float] | None = None) -> None:
        """End the process: close its stdin, wait, SIGTERM, wait, SIGKILL (PT 1 section 3.4).

        ``timeouts`` are the seconds of the two waits, if not those of the plan; an early end cuts
        them short.  May be called again, and from several tasks.
        """
        if self._process is not None:
            await self._process.stop(self.plan.stop_timeouts if timeouts is None else timeouts)

    # --- what it says

    def receive(self, stream: Stream, data: bytes) -> None:
        """Take what the process wrote to one of its streams; nothing is the end of that."""
        if data:
            self._take(self._session.receive_data(stream, data))
        else:
            self._take(self._session.receive_eof(stream))

    def end(self) -> None:
        """Take notice that the process has ended and that there is nothing more to hear."""
        self._log.debug("process %d ended with %s", self.pid, exit_words(self.returncode))
        self._settled.set()
        self.exited.set()
        self._hearers.end()

    def _take(self, events: Iterable[Event]) -> None:
        for event in events:
            self._lines += 1
            self.transcript.append(event)
            if isinstance(event, StderrText):
                self._stderr.append(event)
            elif isinstance(event, Heard) and isinstance(event.message, StatusVersion):
                self.implementation = event.message
            if self._log.isEnabledFor(level := log_level(event)):
                self._log.log(level, "%s", log_text(event))
            self._hearers.tell(event)
        if self._session.done or self._session.failure is not None:
            self._settled.set()


def _is_for_people(message: Message) -> bool:
    if isinstance(message, Log):
        return message.level is None or message.level >= LogLevel.NOTICE
    return isinstance(message, Status)


@contextlib.asynccontextmanager
async def launch(
    command: Iterable[Path], **settings: Unpack[LaunchSettings]
) -> AsyncIterator[TransportProcess]:
    """Start a transport process for as long as the ``async with`` block lasts.

    Give either ``client=[names]``, or ``server={name: address}`` with a ``target`` or a
    ``handler``; see ``LaunchSettings`` for what else may be given.  Without ``state`` the process
    gets a directory that is removed afterwards.

    With a ``handler`` the server's clients come to this program, through an Extended ORPort of its
    own: ``await handler(stream, client)`` is run for each.

    Raises LaunchError, LocalProtocolError for settings that cannot be said.
    """
    async with launch_plan(plan(command, **settings)) as process:
        yield process


@contextlib.asynccontextmanager
async def launch_plan(plan: Plan) -> AsyncIterator[TransportProcess]:
    """``launch`` for a plan that was made before."""
    async with contextlib.AsyncExitStack() as stack:
        config = plan.config
        state = config.state
        if state is None or state == config.dialect.state_default:
            state = tempfile.mkdtemp(prefix="ptipc-")
            stack.callback(shutil.rmtree, state, ignore_errors=True)
        config = evolve(config, state=os.path.abspath(os.path.expanduser(state)))
        if plan.handler is not None:
            server = ExtOrPortServer(plan.handler, admit=plan.admit)
            await stack.enter_async_context(server)
            config = evolve(config, extended_port=server.address, auth_cookie=server.cookie_file)
        process = TransportProcess(evolve(plan, config=config, handler=None))
        try:
            await process.start()
            yield process
        finally:
            await process.stop()
