"""Connections through transport processes, by every way there is."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from ptipc.aio import Stream, SystemNetwork, TransportProcess, launch
from ptipc.core.bridgelines import BridgeLine
from ptipc.core.codecs import Address
from ptipc.core.dialects import Stream as Output
from ptipc.core.errors import LocalProtocolError
from ptipc.core.launch import Client, ProcessEnded, plan
from ptipc.core.messages import Log
from ptipc.core.session import Heard
from ptipc.core.socks import TargetRefused, TargetUnreachable

from .hosting import (
    LoopFactory,
    echo_server,
    loop_factories,
    nothing_left,
    program,
    run,
    unused_port,
)

loops = pytest.mark.parametrize("loop", loop_factories().values(), ids=loop_factories())

HONEST = program("honest")


def logged(process: TransportProcess) -> list[str]:
    """What the process has logged so far."""
    heard = [event.message for event in process.transcript if isinstance(event, Heard)]
    return [message.text for message in heard if isinstance(message, Log)]


@loops
@pytest.mark.parametrize("version", ["4", "5"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_data_goes_both_ways_by_every_way_to_dial(
    loop: LoopFactory, version: str, host: str
) -> None:
    """SOCKS4, 4a and 5, with args, as a stream, a socket and asyncio's own."""
    command = program("honest", version)

    async def main() -> list[str]:
        async with echo_server() as address, launch(command, client=["one"]) as process:
            target = Address(host, address.port)
            stream = await process.dial("one", target, {"way": "stream"})
            await stream.send(b"first")
            assert await stream.receive() == b"first"
            await stream.send_eof()
            assert await stream.receive() == b""
            await stream.aclose()

            connection = await process.dial_socket("one", target, {"way": "socket"}, blocking=True)
            with connection:
                assert connection.family == socket.AF_INET
                assert connection.gettimeout() is None
                connection.sendall(b"second")
                assert await asyncio.to_thread(connection.recv, 100) == b"second"

            reader, writer = await process.open_connection(
                "one", target, {"way": "asyncio"}, limit=100
            )
            writer.write(b"third\n")
            assert await reader.readline() == b"third\n"
            writer.close()
            await writer.wait_closed()
            # The thread of the honest process may say it later than the connection is there.
            texts: list[str] = []
            async for event in process.events():
                if isinstance(event, Heard) and isinstance(event.message, Log):
                    texts += [event.message.text] * event.message.text.startswith("args")
                if len(texts) == 3:
                    return texts
            return texts

    with nothing_left():
        texts = run(main(), loop)
    assert texts == ["args way=stream", "args way=socket", "args way=asyncio"]


def test_a_bridge_line_has_everything_in_one() -> None:
    async def main() -> list[str]:
        async with echo_server() as target, launch(HONEST, client=["one"]) as process:
            line = BridgeLine(transport="one", address=target, args={"cert": "x"})
            stream = await process.dial(line)
            await stream.send(b"hello")
            assert await stream.receive() == b"hello"
            await stream.aclose()
            with pytest.raises(LocalProtocolError, match="of its own"):
                await process.dial(line, target)
            with pytest.raises(LocalProtocolError, match="without a transport"):
                await process.dial(BridgeLine(address=target))
        return logged(process)

    assert "args cert=x" in run(main())


def test_a_dialer_can_be_kept_and_used_again() -> None:
    async def main() -> None:
        async with echo_server() as target, launch(HONEST, client=["one"]) as process:
            dialer = process.dialer("one", {"k": "v"})
            for _ in range(2):
                stream = await dialer.dial(target)
                await stream.aclose()
            other = dialer.given({"k": "w"})
            await (await other.dial(target)).aclose()
            with pytest.raises(LocalProtocolError, match="no target"):
                await dialer.dial()
            with pytest.raises(LocalProtocolError, match="in streams"):
                await dialer.dial_datagrams()
            with pytest.raises(LookupError):
                process.dialer("other")
        with pytest.raises(ProcessEnded, match="has ended with exit 0"):
            await dialer.dial(target)

    run(main())


def test_a_refusal_is_an_error_of_the_operating_system_too() -> None:
    async def main() -> None:
        async with launch(HONEST, client=["one"]) as process:
            target = Address("127.0.0.1", unused_port())
            with pytest.raises(TargetRefused) as caught:
                await process.dial("one", target)
            assert str(caught.value).startswith(f"one cannot connect to {target}: the target refus")
            assert caught.value.code == 5
            assert caught.value.errno == errno.ECONNREFUSED

    run(main())


def test_a_refusal_says_what_the_process_said_meanwhile() -> None:
    """What is for people, and not what it said before."""
    process = TransportProcess(plan(["by hand"], client=["one"]))

    def say(*lines: str) -> None:
        process.receive(Output.STDOUT, "".join(f"{line}\n" for line in lines).encode())

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(3)
        writer.write(b"\5\0")
        await reader.readexactly(10)
        say('LOG SEVERITY=debug MESSAGE="a detail"', "STATUS TRANSPORT=one BRIDGE=unreachable")
        say('LOG SEVERITY=warning MESSAGE="no way"', "HELLO")
        writer.write(b"\5\4\0\1" + bytes(6))
        writer.close()

    async def main() -> str:
        async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
            place = Address(*server.sockets[0].getsockname())
            say("VERSION 1", f"CMETHOD one socks5 {place}", "CMETHODS DONE")
            say('LOG SEVERITY=warning MESSAGE="long ago"')
            with pytest.raises(TargetUnreachable) as caught:
                await process.dial("one", Address("192.0.2.7", 443))
            return str(caught.value)

    assert run(main()) == (
        "one cannot connect to 192.0.2.7:443: the target cannot be reached (reply 0x04); meanwhile "
        "it said 'STATUS TRANSPORT=one BRIDGE=unreachable', "
        "'LOG SEVERITY=warning MESSAGE=\"no way\"'"
    )


@loops
def test_two_hundred_connections_at_a_time(loop: LoopFactory) -> None:
    async def main() -> None:
        async with echo_server() as target, launch(HONEST, client=["one"]) as process:
            dialer = process.dialer("one")

            async def one(number: int) -> bool:
                stream = await dialer.dial(target)
                data = number.to_bytes(2, "big") * 500
                await stream.send(data)
                await asyncio.sleep(0)
                heard = b""
                while len(heard) < len(data) and (more := await stream.receive()):
                    heard += more
                await stream.aclose()
                return heard == data

            assert all(await asyncio.gather(*map(one, range(200))))

    with nothing_left():
        run(main(), loop)


@loops
def test_the_clients_of_a_server_come_to_a_handler(loop: LoopFactory) -> None:
    """Through an Extended ORPort that nobody had to set up, with their addresses."""
    hello = [sys.executable, str(Path(__file__).parents[2] / "examples" / "hello.py")]
    clients: list[Client] = []

    async def handler(stream: Stream, client: Client) -> None:
        clients.append(client)
        while data := await stream.receive():
            await stream.send(data.upper())
        await stream.send_eof()

    def admit(client: Client) -> bool:
        return len(clients) < 1

    async def main() -> tuple[Any, Any]:
        async with launch(
            hello, server={"hello": "127.0.0.1:0"}, handler=handler, admit=admit
        ) as server:
            line = server.bridge_line("hello", "0" * 40)
            assert str(line) == f"hello {line.address} {'0' * 40}"
            with pytest.raises(LookupError, match="a server's transport"):
                await server.dial("hello", line.address)
            stream = await SystemNetwork().dial(line.address)
            await stream.send(b"hello")
            assert await stream.receive() == b"HELLO"
            second = await SystemNetwork().dial(line.address)
            assert await second.receive() == b""
            here = stream.local
            await stream.aclose()
            await second.aclose()
        return clients, [Client(here, "hello")]

    with nothing_left():
        seen, expected = run(main(), loop)
    assert seen == expected
