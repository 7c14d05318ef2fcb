"""``ptipc demo``: one transport as two processes, and the conversation line by line."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import os
import shlex
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from pathlib import Path

import ptipc
from ptipc.aio import SocketStream, TransportProcess, launch
from ptipc.core.codecs import Address
from ptipc.core.dialects import DIALECTS, dialect_for
from ptipc.core.errors import PtipcError
from ptipc.core.messages import FORMS
from ptipc.core.session import Event, Heard, StderrText, Violation
from ptipc.osdep import exit_words

__all__ = ["add_arguments", "main"]

WIDTH = 80
SIZE = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "--transport",
        metavar="NAME",
        default="hello",
        help="the transport to ask for (default: hello, which comes with ptipc)",
    )
    parser.add_argument(
        "--dialect",
        metavar="VERSION",
        choices=[dialect.version for dialect in DIALECTS],
        default="1",
        help="the edition to speak: %(choices)s (default: 1, as tor does)",
    )
    parser.add_argument(
        "command",
        nargs="*",
        metavar="-- COMMAND ...",
        help="the transport's executable, for example: --transport obfs4 -- obfs4proxy",
    )


def main(options: argparse.Namespace) -> int:
    """Run the tour; 0 only if every octet came back."""
    command = options.command or [sys.executable, str(example("hello"))]
    try:
        return asyncio.run(_tour(command, options.transport, options.dialect))
    except (PtipcError, OSError, LookupError) as error:
        print(f"\nIt did not work: {error}")
        return 1


def example(name: str) -> Path:
    """The file of an example, in an installed package or in a checkout."""
    package = Path(ptipc.__file__).parent
    for place in (package / "examples", package.parent / "examples"):
        if (path := place / f"{name}.py").exists():
            return path
    raise FileNotFoundError(f"the example {name!r} is not installed")


async def _tour(command: list[str], transport: str, version: str) -> int:
    dialect = dialect_for(version)
    _say(
        f"A pluggable transport disguises traffic.  Here {transport!r} runs as two processes, a "
        "server and a client, and this program is their host: it starts them, hears what they say, "
        "and sends data through both."
    )
    async with _echo_server() as echo:
        _head(1, "the server process", command)
        _say(f"Its clients' data shall go to {echo}, where this program sends everything back.")
        async with launch(
            command,
            server={transport: "127.0.0.1:0"},
            target=echo,
            dialect=dialect,
            on_event=lambda event: _event("server", event),
        ) as server:
            bridge = server.bridge_line(transport)
            _head(2, "the client process", command)
            async with launch(
                command,
                client=[transport],
                dialect=dialect,
                on_event=lambda event: _event("client", event),
            ) as client:
                _head(3, "data through both")
                _say(
                    f"This program asks the client at {client.method(transport).address} for "
                    f"{bridge.address}, the server"
                    + (f", with {_names(list(bridge.args))}." if bridge.args else ".")
                )
                started = time.perf_counter()
                same = await _round_trip(await client.dial(bridge), os.urandom(SIZE))
                seconds = time.perf_counter() - started
                _say(
                    f"{SIZE:,} octets there and back in {seconds:.2f} s: "
                    + ("every one is the same." if same else "THEY ARE NOT THE SAME.")
                )
                _head(4, "the end")
                await _stop("client", client)
            await _stop("server", server)
    print("\nEvery octet came back." if same else "\nThe data was damaged.")
    return 0 if same else 1


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


async def _stop(who: str, process: TransportProcess) -> None:
    _line("host", f"closes the {who}'s stdin, which asks it to end")
    await process.stop()
    _line(who, f"ends with {exit_words(process.returncode)}")


@contextlib.asynccontextmanager
async def _echo_server() -> AsyncIterator[Address]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield Address(host, port)


# --- what the newcomer sees -----------------------------------------------------------------------


def _head(number: int, title: str, command: list[str] | None = None) -> None:
    print(f"\n{number}. {title}")
    if command:
        _line("host", f"starts {shlex.join(command)}")


def _say(text: str) -> None:
    print(textwrap.fill(text, WIDTH, initial_indent="   ", subsequent_indent="   "))


def _line(who: str, text: str) -> None:
    print(f"   {who:<7} {text}")


def _event(who: str, event: Event) -> None:
    if isinstance(event, StderrText):
        _line(who, f"(stderr) {event.line}")
        return
    if isinstance(event, Violation):
        _line(who, f"(against the rules) {event.text}")
        return
    _line(who, event.line)
    if isinstance(event, Heard) and (meaning := _meaning(event)):
        print(
            textwrap.fill(
                meaning, WIDTH, initial_indent=" " * 13 + "= ", subsequent_indent=" " * 15
            )
        )


def _meaning(event: Heard) -> str:
    return next((form.meaning for form in FORMS if form.message is type(event.message)), "")
