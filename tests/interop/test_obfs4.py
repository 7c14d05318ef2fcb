"""Debian's obfs4proxy, as server and as client, driven by our host side."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from ptipc.aio import SocketStream, launch
from ptipc.core.codecs import Address
from tests.interop.processes import is_running

pytestmark = pytest.mark.program("obfs4proxy")

SIZE = 10_000_000


async def receive_exactly(stream: SocketStream, size: int) -> bytes:
    # obfs4proxy turns a half-close into a full one, so the size tells the end.
    pieces = []
    while size and (data := await stream.receive()):
        pieces.append(data)
        size -= len(data)
    return b"".join(pieces)


def test_obfs4proxy_carries_ten_megabytes_each_way() -> None:
    """What goes in at either end comes out at the other, and both processes are gone afterwards."""
    up, down = os.urandom(SIZE), os.urandom(SIZE)

    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as application:
            application.setblocking(False)
            async with (
                launch(
                    ["obfs4proxy"],
                    server={"obfs4": "127.0.0.1:0"},
                    target=Address(*application.getsockname()),
                ) as server,
                launch(["obfs4proxy"], client=["obfs4"]) as client,
            ):
                near = await client.dial(server.bridge_line("obfs4"))
                connection, _ = await loop.sock_accept(application)
                far = SocketStream(connection)
                async with asyncio.timeout(60), asyncio.TaskGroup() as group:
                    group.create_task(near.send(up))
                    group.create_task(far.send(down))
                    at_far = group.create_task(receive_exactly(far, SIZE))
                    at_near = group.create_task(receive_exactly(near, SIZE))
                assert at_far.result() == up
                assert at_near.result() == down
                await near.aclose()
                await far.aclose()
                assert server.pid is not None
                assert client.pid is not None
                return [server.pid, client.pid]

    for pid in asyncio.run(main()):
        assert not is_running(pid)


def test_a_wrong_certificate_is_refused_in_words() -> None:
    """Args that the transport does not like come back as the SOCKS reply that it sent."""

    async def main() -> None:
        async with launch(["obfs4proxy"], client=["obfs4"]) as client:
            with pytest.raises(OSError, match="0x01"):
                await client.dial("obfs4", Address("127.0.0.1", 9), {"cert": "x", "iat-mode": "0"})

    asyncio.run(main())
