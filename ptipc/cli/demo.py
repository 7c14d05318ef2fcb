"""``ptipc demo``: one transport as two processes, and the conversation line by line."""

from __future__ import annotations

import argparse
import asyncio
import functools
import hashlib
import os
import shlex
import sys
import time

from ptipc.aio import SocketStream, TransportProcess, launch
from ptipc.cli.commandline import edition, example
from ptipc.cli.echo import echo_server
from ptipc.cli.narration import Narrator
from ptipc.cli.parsing import DONE, FAILED, takes_program
from ptipc.cli.screen import open_screen
from ptipc.core.dialects import DIALECTS, PT1, Dialect
from ptipc.core.errors import PtipcError
from ptipc.osdep import exit_words

__all__ = ["add_arguments", "main"]

SIZE = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    takes_program(
        parser,
        "[options] [-- PROGRAM ...]",
        "the transport's executable, for example: ptipc demo --transport obfs4 -- obfs4proxy",
    )
    parser.add_argument(
        "--transport",
        metavar="NAME",
        default="hello",
        help="the transport to ask for (default: hello, which comes with ptipc)",
    )
    parser.add_argument(
        "--dialect",
        metavar="VERSION",
        type=edition,
        default=PT1,
        help=f"the edition to speak: {', '.join(each.version for each in DIALECTS)} "
        "(default: 1, as tor does)",
    )


def main(options: argparse.Namespace) -> int:
    """Run the tour; 0 only if every octet came back."""
    command = options.program or [sys.executable, str(example("hello"))]
    with open_screen() as screen:
        try:
            same = asyncio.run(
                _tour(Narrator(screen.line), command, options.transport, options.dialect)
            )
        except (PtipcError, OSError, LookupError) as error:
            screen.line()
            screen.line(f"It did not work: {error}", "bad")
            return FAILED
        screen.line()
        if not same:
            screen.line("The data was damaged.", "bad")
            return FAILED
        screen.line("Every octet came back.", "good")
        return DONE


async def _tour(tell: Narrator, command: list[str], transport: str, dialect: Dialect) -> bool:
    """Show it all; whether every octet came back."""
    tell.say(
        f"A pluggable transport disguises traffic.  Here {transport!r} runs as two processes, a "
        "server and a client, and this program is their host: it starts them, hears what they say, "
        "and sends data through both."
    )
    async with echo_server() as echo:
        tell.head("1. the server process")
        tell.line("host", f"starts {shlex.join(command)}")
        tell.say(f"Its clients' data shall go to {echo}, where this program sends everything back.")
        async with launch(
            command,
            server={transport: "127.0.0.1:0"},
            target=echo,
            dialect=dialect,
            on_event=functools.partial(tell.event, "server"),
        ) as server:
            bridge = server.bridge_line(transport)
            tell.head("2. the client process")
            tell.line("host", f"starts {shlex.join(command)}")
            async with launch(
                command,
                client=[transport],
                dialect=dialect,
                on_event=functools.partial(tell.event, "client"),
            ) as client:
                tell.head("3. data through both")
                tell.say(
                    f"This program asks the client at {client.method(transport).address} for "
                    f"{bridge.address}, the server"
                    + (f", with {_names(list(bridge.args))}." if bridge.args else ".")
                )
                started = time.perf_counter()
                same = await _round_trip(await client.dial(bridge), os.urandom(SIZE))
                seconds = time.perf_counter() - started
                tell.say(
                    f"{SIZE:,} octets there and back in {seconds:.2f} s: "
                    + ("every one is the same." if same else "THEY ARE NOT THE SAME.")
                )
                tell.head("4. the end")
                await _stop(tell, "client", client)
            await _stop(tell, "server", server)
    return same


def _names(names: list[str]) -> str:
    return f"the args {', '.join(names)}"


async def _round_trip(stream: SocketStream, data: bytes) -> bool:
    """Send data and compare what comes back, both at the same time."""
    returned = hashlib.sha256()
    left = len(data)
    sending = asyncio.create_task(stream.send(data))
    try:
        async with asyncio.timeout(60):
            while left and (chunk := await stream.receive()):
                returned.update(chunk)
                left -= len(chunk)
            await sending
    finally:
        sending.cancel()
        await stream.aclose()
    return left == 0 and returned.digest() == hashlib.sha256(data).digest()


async def _stop(tell: Narrator, who: str, process: TransportProcess) -> None:
    tell.line("host", f"closes the {who}'s stdin, which asks it to end")
    await process.stop()
    tell.line(who, f"ends with {exit_words(process.returncode)}")
