"""``ptipc tunnel``: a local port to a fixed destination, through any transport."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shlex
import socket
from typing import Any

from attrs import define, field

from ptipc.aio.datagrams import Datagrams
from ptipc.aio.network import SystemNetwork
from ptipc.aio.streams import Stream
from ptipc.aio.supervise import Supervisor
from ptipc.cli.commandline import (
    add_process_arguments,
    add_server_arguments,
    address_to_listen_at,
    joined,
    process_settings,
    program,
    public,
    refusing,
    seconds,
    state_directory,
    target,
    the_server,
    transport,
)
from ptipc.cli.parsing import INTERRUPTED, Parser, UsageError, takes_program
from ptipc.cli.screen import open_screen
from ptipc.cli.tunnelling import Tunnel
from ptipc.core.bridgelines import BridgeLine
from ptipc.core.codecs import Address, Mode
from ptipc.core.dialects import PT2_2, Role
from ptipc.core.escapes import ARGS, Args
from ptipc.core.launch import Client, LaunchSettings, Plan, plan
from ptipc.core.messages import SMethod
from ptipc.core.settings import parameter_for
from ptipc.osdep import State
from ptipc.sockets import free_address

__all__ = ["add_arguments", "main"]

_LOCAL = Address("127.0.0.1", 0)
_ANYWHERE = Address("0.0.0.0", 0)

_EXAMPLE = """\
example: an SSH server that is reached through obfs4

  there$ ptipc tunnel server obfs4 --to 127.0.0.1:22 --listen 4443
  here$  ptipc tunnel client obfs4 --to THERE:4443 --args ... --listen 2222
  here$  ssh -p 2222 127.0.0.1

One direction of a connection may end before the other if the transport can do
that; obfs4proxy, for one, ends both at once.  In UDP the first datagram of a
conversation is lost, as the specification has it: it opens the way for others.

exit status: 0 ended as asked, with nothing cut off; 1 the process could not be
kept running; 2 a wrong command line; 3 the process did not start; 130
connections were cut off, by a second Ctrl-C or by --drain
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    ends = parser.add_subparsers(
        dest="end", metavar="END", required=True, title="which end", parser_class=Parser
    )
    client = ends.add_parser(
        "client",
        help="the near end: listen here, and connect to the server",
        description="Listen at a local port, and lead what comes there through a transport to its\n"
        "server.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    server = ends.add_parser(
        "server",
        help="the far end: wait for clients, and connect to the destination",
        description="Wait for the clients of a transport, and lead them to one destination.  The\n"
        "command line for the client is printed.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_client_arguments(client)
    _add_server_arguments(server)


def _add_client_arguments(parser: argparse.ArgumentParser) -> None:
    takes_program(
        parser,
        "[NAME] --to ADDRESS:PORT [options] [-- PROGRAM ...]",
        "the client of the transport; if not given, the usual one, if that is installed",
    )
    parser.add_argument("name", nargs="?", type=transport, metavar="NAME", help="the transport")
    server = parser.add_argument_group("the server")
    add_server_arguments(server)
    ours = parser.add_argument_group("the tunnel")
    ours.add_argument(
        "--listen",
        type=address_to_listen_at("127.0.0.1"),
        default=_LOCAL,
        metavar="[ADDRESS:]PORT",
        help="the local port (default: a free one, on 127.0.0.1)",
    )
    ours.add_argument(
        "--timeout",
        type=seconds,
        default=60.0,
        metavar="SECONDS",
        help="how long a connection through the transport may take (default: 60)",
    )
    _add_common_arguments(ours)
    add_process_arguments(
        parser.add_argument_group("the process"), client=True, state="one that is removed"
    )


def _add_server_arguments(parser: argparse.ArgumentParser) -> None:
    takes_program(
        parser,
        "NAME --to HOST:PORT [options] [-- PROGRAM ...]",
        "the server of the transport; if not given, the usual one, if that is installed",
    )
    parser.add_argument("name", type=transport, metavar="NAME", help="the transport")
    ours = parser.add_argument_group("the tunnel")
    ours.add_argument(
        "--to", type=target, metavar="HOST:PORT", required=True, help="the destination"
    )
    ours.add_argument(
        "--listen",
        type=address_to_listen_at("0.0.0.0"),
        default=_ANYWHERE,
        metavar="[ADDRESS:]PORT",
        help="where clients are waited for (default: a free port, on every address)",
    )
    ours.add_argument(
        "--public",
        type=public,
        metavar="HOST[:PORT]",
        help="where clients find that, for the command line that is printed",
    )
    ours.add_argument(
        "--plain",
        action="store_true",
        help="do not offer the process an Extended ORPort: for those that would use it wrongly. "
        "Where clients come from is then not known",
    )
    _add_common_arguments(ours)
    add_process_arguments(
        parser.add_argument_group("the process"),
        client=False,
        state="one for each NAME, of this user, that stays",
    )


def _add_common_arguments(group: Any) -> None:
    group.add_argument(
        "--udp", action="store_true", help="carry UDP, in PT 2.2 if --dialect does not say else"
    )
    group.add_argument(
        "--drain",
        type=seconds,
        metavar="SECONDS",
        help="how long connections may go on after Ctrl-C (default: until they end, or until "
        "Ctrl-C again)",
    )
    group.add_argument(
        "-q", "--quiet", action="store_true", help="say only what goes wrong, once it runs"
    )
    group.add_argument(
        "-v", "--verbose", action="store_true", help="show what the process says, and what it means"
    )


def main(options: argparse.Namespace) -> int:
    """Run one end until it is asked to end."""
    make = _client if options.end == "client" else _server
    with open_screen() as screen, contextlib.suppress(asyncio.CancelledError):
        with refusing():
            tunnel = make(
                options,
                screen=screen,
                udp=options.udp,
                drain=options.drain,
                quiet=options.quiet,
                verbose=options.verbose,
            )
        return asyncio.run(tunnel.run())
    return INTERRUPTED


def _settings(options: argparse.Namespace, role: Role) -> LaunchSettings:
    """What the process is told at either end."""
    settings = process_settings(options, [options.name])
    if options.udp:
        dialect = options.dialect or PT2_2
        if parameter_for("mode", dialect, role, "flags") is None:
            raise UsageError(f"{dialect} has no mode for UDP: say --dialect 2.2, or 3.0")
        settings["dialect"] = dialect
        settings["mode"] = Mode.TRANSPARENT_UDP
    return settings


# --- the client -----------------------------------------------------------------------------------


def _client(options: argparse.Namespace, **common: Any) -> Tunnel:
    """The near end that the command line asks for.  Raises UsageError, LocalProtocolError."""
    options.name, server, args = the_server(options, options.name)
    if server is None:
        raise UsageError("where is the server? Say --to ADDRESS:PORT, or give its --bridge line")
    command = program(options.program, options.name, Role.CLIENT)
    settings = _settings(options, Role.CLIENT)
    if options.udp:
        # What no connection can say has to be said at the start.
        dialect = settings["dialect"]
        assert dialect is not None
        given = [*args.pairs, *joined(options.option).pairs]
        if parameter_for("target", dialect, Role.CLIENT, "flags"):
            settings["target"] = server
        else:
            given.append(("serverAddress", str(server)))  # C36
        settings["options"] = {options.name: Args(given)}
    settings["client"] = [options.name]
    wanted = plan(command, **settings)
    wanted.invocation()  # what cannot be said is better refused now
    return _ClientEnd(
        front=options.listen,
        applications=True,
        wanted=wanted,
        server=server,
        args=args,
        timeout=options.timeout,
        **common,
    )


@define(eq=False, kw_only=True)
class _ClientEnd(Tunnel):
    """From a local port to the server of a transport."""

    wanted: Plan
    server: Address
    args: Args
    timeout: float

    @property
    def transport(self) -> str:
        """The name of the transport."""
        return self.wanted.config.transports[0]

    def plan(self, front: Address) -> Plan:
        return self.wanted

    async def dial(self, supervisor: Supervisor) -> Stream:
        dialer = supervisor.dialer(self.transport, self.args, timeout=self.timeout)
        return await dialer.dial(self.server)

    async def dial_datagrams(self, supervisor: Supervisor) -> Datagrams:
        return await supervisor.dialer(self.transport, timeout=self.timeout).dial_datagrams()

    def announce(self, supervisor: Supervisor, front: Address) -> None:
        udp = "UDP at " if self.udp else ""
        self.paragraph(
            f"{udp}{front} leads through {self.transport} to {self.server}.  Ctrl-C ends it."
        )


# --- the server -----------------------------------------------------------------------------------


def _server(options: argparse.Namespace, **common: Any) -> Tunnel:
    """The far end that the command line asks for.  Raises UsageError, LocalProtocolError."""
    command = program(options.program, options.name, Role.SERVER)
    settings = _settings(options, Role.SERVER)
    state = State(options.state or state_directory(options.name))
    try:
        settings["state"] = str(state.directory())
        # The process is started again with the same settings, and shall then have the same port.
        listen = options.listen if options.listen.port else free_address(options.listen.host)
    except OSError as error:
        raise UsageError(f"{options.listen}" if error.filename is None else str(error)) from None
    tunnel = _ServerEnd(
        front=_LOCAL,
        applications=False,
        command=command,
        settings=settings,
        listen=listen,
        options=options,
        **common,
    )
    tunnel.plan(_LOCAL).invocation()  # what cannot be said is better refused now
    return tunnel


@define(eq=False, kw_only=True)
class _ServerEnd(Tunnel):
    """From the clients of a transport to the destination."""

    command: list[str]
    settings: LaunchSettings
    listen: Address
    options: argparse.Namespace
    _network: SystemNetwork = field(factory=SystemNetwork, init=False)

    def plan(self, front: Address) -> Plan:
        settings = self.settings.copy()
        settings["server"] = {self.options.name: self.listen}
        settings["target"] = front
        if not (self.udp or self.options.plain):
            # A process that knows no Extended ORPort has the front.
            settings["handler"] = self._carry
            settings["admit"] = lambda client: not self.draining
        return plan(self.command, **settings)

    async def dial(self, supervisor: Supervisor) -> Stream:
        return await self._network.dial(self.options.to)

    async def dial_datagrams(self, supervisor: Supervisor) -> Datagrams:
        return await self._network.datagrams(self.options.to)

    async def _carry(self, stream: Stream, client: Client) -> None:
        await self.carrier.carry(stream, client.address)

    # --- what is told

    def announce(self, supervisor: Supervisor, front: Address) -> None:
        name, options = self.options.name, self.options
        process = supervisor.process(name)
        method = process.method(name)
        assert isinstance(method, SMethod)
        self.paragraph(
            f"{name} waits for clients at {method.address}, and leads them to {options.to}"
            f"{' (UDP)' if self.udp else ''}.  Ctrl-C ends it."
        )
        found, doubt = _where_clients_find(method.address, options.public, self.listen)
        self.screen.line()
        self.paragraph("The other end, on the machine of a client:")
        self.screen.line(f"\n    {self._client_command(found, method.args)}\n")
        with contextlib.suppress(ValueError):  # a line cannot hold every address and every arg
            line = BridgeLine(transport=name, address=found, args=method.args)
            self.screen.line(f"The same as a bridge line:\n\n    {line}\n")
        if doubt:
            self.paragraph(doubt)
        state = self.settings["state"]
        if options.listen.port:
            self.paragraph(
                f"The keys are kept in {state}, so this stays good when the tunnel is started "
                "again."
            )
        else:
            self.paragraph(
                f"The keys are kept in {state}, but the port is for this time only; with "
                f"--listen {self.listen} it would stay, too."
            )

    def _client_command(self, found: Address, args: Args) -> str:
        options = self.options
        words = ["ptipc", "tunnel", "client", options.name, "--to", str(found)]
        if args:
            words += ["--args", ARGS.emit(args)]
        if options.dialect is not None:
            words += ["--dialect", options.dialect.version]
        if options.udp:
            words.append("--udp")
        if options.program:
            words += ["--", *options.program]
        return shlex.join(words)


def _where_clients_find(
    listening: Address, public: Address | None, asked: Address
) -> tuple[Address, str]:
    """Where clients reach a server, and what may be wrong with that.

    ``asked`` is where the process was to listen.
    """
    if public is not None:
        return Address(public.host, public.port or listening.port), ""
    if listening.is_loopback:
        return listening, "It listens for this machine only; --listen PORT would be for all."
    if listening.ip is None or not listening.ip.is_unspecified:
        return listening, ""
    # Go's programs say [::] when they listen at every address, of IPv4 as well.
    own = _own_address(asked) or _own_address(listening)
    if own is None:
        text = "This machine seems to have no address of its own: say with --public what it is."
        return Address("YOUR-ADDRESS", listening.port), text
    text = f"{own} is what this machine knows of its address; --public says it better."
    return Address(own, listening.port), text


def _own_address(listening: Address) -> str | None:
    """Our address, as the way to the world has it; nothing is sent."""
    family, far = (
        (socket.AF_INET6, "2001:db8::1") if ":" in listening.host else (socket.AF_INET, "192.0.2.1")
    )
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as found:
        found.connect((far, 9))
        return str(found.getsockname()[0])
    return None
