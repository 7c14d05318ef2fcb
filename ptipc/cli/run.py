"""``ptipc run``: be the host of a transport process, and show the conversation."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator

from attrs import define, field

from ptipc.aio.host import TransportProcess
from ptipc.aio.network import SystemNetwork
from ptipc.aio.streams import Stream
from ptipc.cli.carrying import Carrier, reason
from ptipc.cli.commandline import (
    add_process_arguments,
    add_server_arguments,
    address_to_listen_at,
    process_settings,
    program,
    refusing,
    seconds,
    the_server,
    transport,
)
from ptipc.cli.echo import echo_server
from ptipc.cli.interrupts import Interrupts, first_of
from ptipc.cli.narration import Narrator
from ptipc.cli.parsing import DONE, FAILED, UsageError, takes_program
from ptipc.cli.screen import open_screen
from ptipc.core.codecs import Address
from ptipc.core.diagnosis import absence
from ptipc.core.dialects import Role
from ptipc.core.escapes import NO_ARGS, Args
from ptipc.core.launch import LaunchError, LaunchSettings, Plan, plan
from ptipc.osdep import exit_words

__all__ = ["add_arguments", "main"]

_LOCAL = Address("127.0.0.1", 0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    takes_program(
        parser,
        "client|server [NAME ...] [options] [-- PROGRAM ...]",
        "the transport's executable; if not given, the usual one, if that is installed",
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = """\
examples:
  ptipc run client obfs4 snowflake -- lyrebird
  ptipc run client --bridge 'obfs4 192.0.2.7:443 cert=... iat-mode=0'

exit status: 0 every transport was up, and the process ended with exit 0; 1 if
not; 2 a wrong command line"""
    parser.add_argument("role", choices=[role.value for role in Role], help="what the process is")
    parser.add_argument(
        "names", nargs="*", type=transport, metavar="NAME", help="the transports to ask for"
    )
    through = parser.add_argument_group("what goes through it")
    add_server_arguments(
        through,
        "of a client: where the server is, to which a local port is to lead; of a server: where "
        "it leads its clients to (default: back)",
    )
    through.add_argument(
        "--listen",
        type=address_to_listen_at("127.0.0.1"),
        default=_LOCAL,
        metavar="[ADDRESS:]PORT",
        help="of a client: the local port that leads --to there; of a server: where its transport "
        "listens (default: a free port, on 127.0.0.1)",
    )
    process = parser.add_argument_group("the process")
    add_process_arguments(process, client=True, state="one that is removed")
    process.add_argument(
        "--timeout",
        type=seconds,
        default=30.0,
        metavar="SECONDS",
        help="how long it may take to become ready (default: 30)",
    )


def main(options: argparse.Namespace) -> int:
    """Run the process until it ends or is to end."""
    role = Role(options.role)
    if role is Role.SERVER and (options.bridge or options.args):
        raise UsageError("--bridge and --args are for clients; what a server takes is --option")
    name, server, args = the_server(options, options.names[0] if options.names else None)
    names = options.names or [name]
    command = program(options.program, name, role)
    settings = process_settings(options, names)
    settings["timeout"] = options.timeout
    if role is Role.CLIENT:
        settings["client"] = names
    elif len(names) > 1 and options.listen.port:
        raise UsageError("several transports cannot listen at one port: leave out --listen")
    else:
        settings["server"] = dict.fromkeys(names, options.listen)
    with contextlib.ExitStack() as stack:
        if options.state is None:
            settings["state"] = stack.enter_context(tempfile.TemporaryDirectory(prefix="ptipc-"))
        with refusing():
            _check(command, settings, server)
        screen = stack.enter_context(open_screen())
        return asyncio.run(
            _Run(
                tell=Narrator(screen.line),
                command=command,
                settings=settings,
                names=names,
                role=role,
                to=server,
                args=args,
                listen=options.listen,
            ).run()
        )


def _check(command: list[str], settings: LaunchSettings, to: Address | None) -> None:
    """Raise LocalProtocolError for what cannot be said."""
    given = settings.copy()
    if "server" in given:
        given["target"] = to or _LOCAL
    plan(command, **given).invocation()


@define(kw_only=True)
class _Run:
    """One process, from its start to its end."""

    tell: Narrator
    command: list[str]
    settings: LaunchSettings
    names: list[str]
    role: Role
    to: Address | None
    args: Args = NO_ARGS
    listen: Address
    _process: TransportProcess = field(init=False)

    async def run(self) -> int:
        """Start the process, let it run until it ends or is to end, and return the exit status."""
        with Interrupts() as interrupts:
            async with contextlib.AsyncExitStack() as stack:
                wanted = await self._plan(stack)
                self.tell.start(self.command, wanted.invocation())
                self._process = TransportProcess(wanted)
                try:
                    return await self._run(interrupts)
                finally:
                    await self._process.stop()

    async def _plan(self, stack: contextlib.AsyncExitStack) -> Plan:
        settings = self.settings.copy()
        if self.role is Role.SERVER:
            if self.to is None:
                settings["target"] = echo = await stack.enter_async_context(echo_server())
                self.tell.say(f"What comes out of the server goes to {echo}, which sends it back.")
            else:
                settings["target"] = self.to
        settings["on_event"] = lambda event: self.tell.event(self.role.value, event)
        return plan(self.command, **settings)

    async def _run(self, interrupts: Interrupts) -> int:
        well = False
        try:
            await self._process.start()
            interrupts.starting = False
            well = self._all_up()
            async with self._open():
                await first_of(interrupts.asked.wait(), self._process.exited.wait())
        except LaunchError as error:
            if self._process.pid is None:
                self.tell.wrong(str(error))
                return FAILED
            self.tell.wrong(f"it did not become ready: {error.reason}")
        except OSError as error:
            self.tell.wrong(
                f"nobody can listen at {self.listen}: {reason(error)}; --listen says where"
            )
            well = False
        except asyncio.CancelledError:
            self.tell.wrong("interrupted before it was ready")
        interrupts.starting = False
        await self._stop(interrupts)
        self.tell.line(self.role.value, f"ends with {exit_words(self._process.returncode)}")
        return DONE if well and self._process.returncode == 0 else FAILED

    def _all_up(self) -> bool:
        process = self._process
        for name in self.names:
            if name not in process.methods and name not in process.errors:
                why = absence(name, process.session, process.transcript)
                self.tell.wrong(f"{name} is not up: {why} (C24)")
        return all(name in process.methods for name in self.names)

    @contextlib.asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        """Open what is wanted of the process to the world, and tell how it is used."""
        if self.role is Role.SERVER:
            for name in self._process.methods:
                line = self._process.bridge_line(name)
                self.tell.line("host", f"would tell clients of this: {line}")
        if self.role is Role.SERVER or self.to is None:
            self.tell.line("host", "waits; Ctrl-C ends it")
            yield
            return
        listener = await SystemNetwork().listen(self.listen)
        carrier = Carrier(
            dial=self._dial, tell=lambda text, tone: self.tell.line("host", f"says that {text}")
        )
        accepting = asyncio.create_task(carrier.accept_from(listener))
        self.tell.line(
            "host",
            f"leads {listener.address} through {self.names[0]} to {self.to}; Ctrl-C ends it",
        )
        try:
            yield
        finally:
            await listener.aclose()
            await accepting
            await carrier.aclose()

    async def _dial(self) -> Stream:
        return await self._process.dial(self.names[0], self.to, self.args)

    async def _stop(self, interrupts: Interrupts) -> None:
        """Stop the process as PT 1 section 3.4 has it, and tell each step; a request cuts short."""
        process = self._process
        if process.exited.is_set():
            return
        self.tell.line("host", "closes its stdin, which asks it to end")
        stopping = asyncio.create_task(process.stop())
        for timeout, then in zip(
            process.plan.stop_timeouts, ("sends SIGTERM", "kills it"), strict=True
        ):
            await first_of(process.exited.wait(), interrupts.urgent.wait(), timeout=timeout)
            if process.exited.is_set():
                break
            if interrupts.urgent.is_set():
                self.tell.line("host", "kills it")
                await process.stop((0, 0))
                break
            self.tell.line("host", then)
        await stopping
