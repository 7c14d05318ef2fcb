"""Our own Extended ORPort: who may come, who is sent away, and who harms nobody."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ptipc.aio import ExtOrPortServer, SocketStream, Stream, SystemNetwork, drive
from ptipc.core.codecs import Address
from ptipc.core.errors import PtipcError, RemoteProtocolError
from ptipc.core.extorport import Denied, ExtOrPortInitiator, parse_cookie_file
from ptipc.core.launch import Client

from .hosting import LoopFactory, loop_factories, nothing_left, run

loops = pytest.mark.parametrize("loop", loop_factories().values(), ids=loop_factories())

SOMEBODY = Address("192.0.2.7", 1984)


async def echo(stream: Stream, client: Client) -> None:
    """Greet a client by what is known of it, and send everything back."""
    await stream.send(f"{client.transport} {client.address}\n".encode())
    while data := await stream.receive():
        await stream.send(data)


def cookie(server: ExtOrPortServer) -> bytes:
    assert server.cookie_file is not None
    return parse_cookie_file(Path(server.cookie_file).read_bytes())


_WHO: dict[str, Any] = {"transport": "obfs4", "client_address": SOMEBODY}


async def come(server: ExtOrPortServer, key: bytes | None = None, **who: Any) -> SocketStream:
    """What a server transport does for a client of its own."""
    key = cookie(server) if key is None else key
    who = {**_WHO, **who}
    stream = await SystemNetwork().dial(server.address)
    try:
        await drive(ExtOrPortInitiator(key, os.urandom(32), **who), stream, 10)
    except BaseException:
        await stream.aclose()
        raise
    return stream


async def line(stream: Stream) -> bytes:
    data = b""
    async with asyncio.timeout(10):
        while not data.endswith(b"\n") and (more := await stream.receive()):
            data += more
    return data


async def is_closed(stream: Stream) -> bool:
    async with asyncio.timeout(10):
        try:
            while await stream.receive():
                pass
        except ConnectionError:
            pass
    await stream.aclose()
    return True


def serve(
    work: Callable[[ExtOrPortServer], Awaitable[None]], loop: LoopFactory, **options: Any
) -> None:
    async def main() -> None:
        async with ExtOrPortServer(options.pop("handler", echo), **options) as server:
            await work(server)
        assert server.cookie_file is None or "cookie_file" in options

    with nothing_left():
        run(main(), loop)


@loops
def test_a_client_comes_with_its_address_and_transport(loop: LoopFactory) -> None:
    async def work(server: ExtOrPortServer) -> None:
        stream = await come(server)
        assert await line(stream) == b"obfs4 192.0.2.7:1984\n"
        await stream.send(b"hello\n")
        assert await line(stream) == b"hello\n"
        await stream.send_eof()
        assert await is_closed(stream)

    serve(work, loop)


@loops
def test_a_client_may_come_without_an_address(loop: LoopFactory) -> None:
    async def work(server: ExtOrPortServer) -> None:
        stream = await come(server, client_address=None)
        assert await line(stream) == b"obfs4 None\n"
        await stream.aclose()

    serve(work, loop)


@loops
@pytest.mark.parametrize("coroutine", [False, True])
def test_a_client_that_is_not_wanted_is_denied(loop: LoopFactory, coroutine: bool) -> None:
    def admit(client: Client) -> bool:
        return client.address != SOMEBODY

    async def admit_later(client: Client) -> bool:
        await asyncio.sleep(0)
        return admit(client)

    async def work(server: ExtOrPortServer) -> None:
        with pytest.raises(Denied):
            await come(server)
        stream = await come(server, client_address=Address("192.0.2.8", 1))
        assert await line(stream) == b"obfs4 192.0.2.8:1\n"
        await stream.aclose()

    serve(work, loop, admit=admit_later if coroutine else admit)


@loops
def test_who_does_not_know_the_cookie_is_sent_away(loop: LoopFactory) -> None:
    async def work(server: ExtOrPortServer) -> None:
        with pytest.raises(PtipcError):
            await come(server, key=bytes(32))
        for words in (b"GET / HTTP/1.1\r\n\r\n", b"\1" + bytes(64), b"\2"):
            stream = await SystemNetwork().dial(server.address)
            await stream.send(words)
            assert await is_closed(stream)

    serve(work, loop)


@loops
def test_who_says_nothing_is_sent_away_in_time_and_harms_nobody(loop: LoopFactory) -> None:
    async def work(server: ExtOrPortServer) -> None:
        silent = [await SystemNetwork().dial(server.address) for _ in range(20)]
        for stream in silent[10:]:
            await stream.send(b"\1" + bytes(10))
        stream = await come(server)
        assert await line(stream) == b"obfs4 192.0.2.7:1984\n"
        for each in silent:
            assert await is_closed(each)
        # It had its proof in time, so it may take its time now.
        await stream.send(b"still here\n")
        assert await line(stream) == b"still here\n"
        await stream.aclose()

    serve(work, loop, timeout=1.5)


@loops
def test_the_oldest_of_too_many_has_to_go(loop: LoopFactory) -> None:
    async def work(server: ExtOrPortServer) -> None:
        silent = [await SystemNetwork().dial(server.address) for _ in range(10)]
        stream = await come(server)
        assert await line(stream) == b"obfs4 192.0.2.7:1984\n"
        await stream.aclose()
        assert await is_closed(silent[0])
        for each in silent[1:]:
            await each.aclose()

    serve(work, loop, half_open=4)


def test_the_cookie_is_private_and_can_be_changed(tmp_path: Path) -> None:
    """Whoever comes with the old one is too late; those who are there stay."""
    path = tmp_path / "cookie"

    async def work(server: ExtOrPortServer) -> None:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        old = cookie(server)
        stream = await come(server)
        server.rotate()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert cookie(server) != old
        with pytest.raises(RemoteProtocolError, match="does not know the cookie"):
            await come(server, key=old)
        await (await come(server)).aclose()
        assert await line(stream) == b"obfs4 192.0.2.7:1984\n"
        await stream.aclose()
        assert repr(old) not in repr(server)

    serve(work, asyncio.new_event_loop, cookie_file=str(path))
    assert path.exists()


@loops
def test_a_cookie_that_changes_within_a_handshake_hinders_nobody(loop: LoopFactory) -> None:
    """Whether it is read behind the nonce, as goptlib does, or was proved before it changed."""

    async def work(server: ExtOrPortServer) -> None:
        stream = await SystemNetwork().dial(server.address)
        assert await stream.receive() == b"\1\0"
        server.rotate()
        machine = ExtOrPortInitiator(cookie(server), os.urandom(32), **_WHO)
        machine.receive_data(b"\1\0")
        await stream.send(machine.data_to_send())
        machine.receive_data(await stream.receive())
        server.rotate()
        await drive(machine, stream, 10)
        assert await line(stream) == b"obfs4 192.0.2.7:1984\n"
        await stream.aclose()

    serve(work, loop)


def test_a_cookie_of_ours_goes_with_the_server() -> None:
    async def main() -> None:
        async with ExtOrPortServer(echo) as server:
            assert server.cookie_file is not None
            directory = Path(server.cookie_file).parent
            assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert not directory.exists()

    run(main())


def test_a_cookie_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(FileNotFoundError):
            async with ExtOrPortServer(echo, cookie_file=str(tmp_path / "nowhere" / "cookie")):
                pass

    with nothing_left():
        run(main())


@loops
def test_handlers_that_fail_or_linger_are_dealt_with(
    loop: LoopFactory, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug is in the log, a broken connection hardly, and what still runs in the end is ended."""
    ended = []

    async def handler(stream: Stream, client: Client) -> None:
        if client.transport == "buggy":
            raise RuntimeError("a bug")
        if client.transport == "broken":
            raise ConnectionResetError("gone")
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(client.transport)

    async def work(server: ExtOrPortServer) -> None:
        for name in ("buggy", "broken"):
            assert await is_closed(await come(server, transport=name))
        lingering = await come(server, transport="lingering")
        assert ended == []
        await server.__aexit__()
        assert await is_closed(lingering)

    serve(work, loop, handler=handler)
    assert ended == ["lingering"]
    assert "a client's handler failed" in caplog.text
    assert "gone" not in [record.message for record in caplog.records if record.levelno > 20]


def test_it_may_listen_elsewhere() -> None:
    async def main() -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.2", 0))
            port = probe.getsockname()[1]
        async with ExtOrPortServer(echo, address=Address("127.0.0.2", port)) as server:
            assert server.address == Address("127.0.0.2", port)

    run(main())
