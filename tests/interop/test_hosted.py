"""Debian's obfs4proxy and snowflake-client as our host side has them, on every event loop."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ptipc.aio import (
    SocketStream,
    Stream,
    SystemNetwork,
    TransportProcess,
    launch,
    relay,
    supervise,
)
from ptipc.core.bridgelines import BridgeLine
from ptipc.core.codecs import Address
from ptipc.core.launch import Client, LaunchError, plan
from tests.aio.hosting import LoopFactory, echo_server, loop_factories, nothing_left, run

loops = pytest.mark.parametrize("loop", loop_factories().values(), ids=loop_factories())

MEGABYTES = int(os.environ.get("PTIPC_HOSTED_MEGABYTES", "20"))
"""How much is moved each way."""

CHUNK = 1 << 18


@asynccontextmanager
async def obfs4() -> AsyncIterator[tuple[TransportProcess, BridgeLine, asyncio.Queue[Stream]]]:
    """A client, the bridge line of a server, and the streams that come out behind that."""
    arrived: asyncio.Queue[Stream] = asyncio.Queue()

    async def handler(stream: Stream, client: Client) -> None:
        assert client.transport == "obfs4"
        assert client.address is not None
        assert client.address.is_loopback
        await arrived.put(stream)
        await asyncio.Event().wait()

    async with (
        launch(["obfs4proxy"], server={"obfs4": "127.0.0.1:0"}, handler=handler) as server,
        launch(["obfs4proxy"], client=["obfs4"]) as client,
    ):
        yield client, server.bridge_line("obfs4"), arrived
    assert server.returncode == client.returncode == 0


def chunks(seed: int) -> list[bytes]:
    """Octets that nothing could compress, repeat or swap without being noticed."""
    source = random.Random(seed)
    return [source.randbytes(CHUNK) for _ in range(MEGABYTES * 1_000_000 // CHUNK)]


async def send(stream: Stream, data: list[bytes]) -> None:
    for chunk in data:
        await stream.send(chunk)


async def digest(stream: Stream, size: int) -> str:
    # obfs4proxy turns a half-close into a full one, so the size tells the end.
    found = hashlib.sha256()
    while size and (data := await stream.receive()):
        found.update(data)
        size -= len(data)
    return found.hexdigest()


@pytest.mark.program("obfs4proxy")
@loops
def test_obfs4proxy_moves_megabytes_each_way(loop: LoopFactory) -> None:
    """At the same time, through a client, a server, and our own Extended ORPort."""
    up, down = chunks(1), chunks(2)
    size = len(up) * CHUNK

    async def main() -> None:
        async with obfs4() as (client, line, arrived):
            near = await client.dial(line)
            far = await arrived.get()
            started = time.perf_counter()
            async with asyncio.TaskGroup() as group:
                group.create_task(send(near, up))
                group.create_task(send(far, down))
                at_far = group.create_task(digest(far, size))
                at_near = group.create_task(digest(near, size))
            rate = 2 * size / 1e6 / (time.perf_counter() - started)
            print(f"{rate:.0f} MB/s both ways together")
            assert at_far.result() == hashlib.sha256(b"".join(up)).hexdigest()
            assert at_near.result() == hashlib.sha256(b"".join(down)).hexdigest()
            await near.aclose()

    with nothing_left():
        run(main(), loop)


@pytest.mark.program("obfs4proxy")
@loops
def test_obfs4proxy_carries_two_hundred_connections_at_a_time(loop: LoopFactory) -> None:
    async def main() -> None:
        async with (
            echo_server() as target,
            launch(["obfs4proxy"], server={"obfs4": "127.0.0.1:0"}, target=target) as server,
            launch(["obfs4proxy"], client=["obfs4"]) as client,
        ):
            line = server.bridge_line("obfs4")
            all_there = asyncio.Barrier(200)

            async def one(number: int) -> bool:
                stream = await client.dial(line)
                await all_there.wait()
                data = number.to_bytes(2, "big") * 5000
                sending = asyncio.create_task(stream.send(data))
                found = await digest(stream, len(data))
                await sending
                await stream.aclose()
                return found == hashlib.sha256(data).hexdigest()

            assert all(await asyncio.gather(*map(one, range(200))))

    with nothing_left():
        run(main(), loop)


@pytest.mark.program("obfs4proxy")
@loops
def test_obfs4proxy_tells_our_extended_port_who_comes(loop: LoopFactory) -> None:
    """And takes a no for an answer."""
    seen: list[Client] = []

    def admit(client: Client) -> bool:
        seen.append(client)
        return len(seen) > 1

    async def handler(stream: Stream, client: Client) -> None:
        await stream.send(b"hello")

    async def main() -> None:
        async with (
            launch(
                ["obfs4proxy"], server={"obfs4": "127.0.0.1:0"}, handler=handler, admit=admit
            ) as server,
            launch(["obfs4proxy"], client=["obfs4"]) as client,
        ):
            for words in (b"", b"hello"):
                stream = await client.dial(server.bridge_line("obfs4"))
                # Some clients of a server in Go are reset, not closed.
                try:
                    assert await stream.receive(5) == words
                except ConnectionResetError:
                    assert not words
                await stream.aclose()

    with nothing_left():
        run(main(), loop)
    assert [client.transport for client in seen] == ["obfs4", "obfs4"]
    assert all(client.address and client.address.host == "127.0.0.1" for client in seen)


@pytest.mark.program("obfs4proxy")
@loops
def test_one_obfs4proxy_leads_through_another(loop: LoopFactory) -> None:
    """The second client's upstream proxy is the first one, args and all."""

    async def main() -> None:
        async with (
            echo_server() as target,
            launch(["obfs4proxy"], server={"obfs4": "127.0.0.1:0"}, target=target) as inner,
            obfs4() as (near, line, arrived),
        ):
            proxy = near.upstream_proxy("obfs4", line.args)
            args = inner.bridge_line("obfs4").args
            there = BridgeLine(transport="obfs4", address=line.address, args=args)
            async with launch(["obfs4proxy"], client=["obfs4"], proxy=proxy) as far:
                dialling = asyncio.create_task(far.dial(there))
                # What comes out behind the first is what the second has disguised.
                between = await arrived.get()
                onward = await SystemNetwork().dial(inner.method("obfs4").address)
                relaying = asyncio.create_task(relay(between, onward))
                stream = await dialling
                await stream.send(b"through both")
                assert await stream.receive() == b"through both"
                await stream.aclose()
                await relaying

    with nothing_left():
        run(main(), loop)


@pytest.mark.program("obfs4proxy")
@loops
def test_obfs4proxy_gives_a_socket_and_asyncios_own(loop: LoopFactory) -> None:
    async def main() -> None:
        async with obfs4() as (client, line, arrived):
            connection = await client.dial_socket(line, blocking=True)
            far = await arrived.get()
            with connection:
                connection.sendall(b"by a socket")
                assert await far.receive() == b"by a socket"
            reader, writer = await client.open_connection(line)
            far = await arrived.get()
            await far.send(b"a line\n")
            assert await reader.readline() == b"a line\n"
            writer.close()
            await writer.wait_closed()

    with nothing_left():
        run(main(), loop)


@pytest.mark.program("obfs4proxy")
@loops
def test_obfs4proxy_fails_as_documented(loop: LoopFactory) -> None:
    """A name that it does not know, an upstream proxy that it cannot read, args that are wrong."""

    async def main() -> None:
        with pytest.raises(LaunchError, match=r"unheard_of: .*exit 255"):
            async with launch(["obfs4proxy"], client=["unheard_of"]):
                pass
        with pytest.raises(LaunchError) as caught:
            async with launch(["obfs4proxy"], client=["obfs4"], proxy="socks5://user@127.0.0.1:9"):
                pass
        assert caught.value.final or caught.value.hint
        async with launch(["obfs4proxy"], client=["obfs4", "unheard_of"]) as client:
            assert list(client.methods) == ["obfs4"]
            assert "unheard_of" in client.errors
            with pytest.raises(OSError, match=r"obfs4 cannot connect to 192\.0\.2\.7:443.*0x01"):
                await client.dial("obfs4", Address("192.0.2.7", 443), {"cert": "x"})

    with nothing_left():
        run(main(), loop)


@pytest.mark.program("obfs4proxy")
@loops
def test_obfs4proxy_is_kept_running(loop: LoopFactory) -> None:
    async def main() -> None:
        async with (
            obfs4() as (_, line, arrived),
            supervise(plan(["obfs4proxy"], client=["obfs4"])) as supervisor,
        ):
            for _ in range(2):
                stream = await supervisor.dial(line)
                far = await arrived.get()
                await stream.send(b"hello")
                assert await far.receive() == b"hello"
                await stream.aclose()
                pid = supervisor.process("obfs4").pid
                assert pid is not None
                os.kill(pid, signal.SIGKILL)

    with nothing_left():
        run(main(), loop)


@pytest.mark.program("snowflake-client")
@loops
def test_snowflake_is_started_and_stopped(loop: LoopFactory) -> None:
    """Without a network it grants at once and then has nothing to say; it still ends when asked."""

    async def main() -> None:
        command = ["snowflake-client", "-url", "http://127.0.0.1:9/", "-ice", "stun:127.0.0.1:9"]
        async with launch(command, client=["snowflake"]) as process:
            stream = await process.dial("snowflake", Address("192.0.2.3", 80))
            assert isinstance(stream, SocketStream)
            await stream.aclose()
        assert process.returncode == 0

    with nothing_left():
        run(main(), loop)
