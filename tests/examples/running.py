"""The examples as programs: a server and a client of each, and what they are asked to carry."""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from attrs import define, field

from ptipc.aio import Datagrams, Stream, TransportProcess, launch
from ptipc.core.codecs import Address, Mode, UpstreamProxy
from ptipc.core.dialects import PT2_2, Dialect
from ptipc.core.escapes import NO_ARGS
from ptipc.core.messages import SMethod
from tests.aio.loopback import read_all

EXAMPLES = Path(__file__).parents[2] / "examples"
STREAMS = ("hello", "obfuscated", "nested", "multiplex", "several", "polling")
"""The examples that carry streams."""
EVERY = (*STREAMS, "datagram")


def command(name: str) -> list[str]:
    """How an example is started."""
    return [sys.executable, str(EXAMPLES / f"{name}.py")]


def environ() -> dict[str, str]:
    """Our environment, as a user has it: a program finds what stands beside it."""
    return {name: text for name, text in os.environ.items() if name != "PYTHONSAFEPATH"}


@contextlib.asynccontextmanager
async def server(
    name: str, dialect: Dialect, target: Address, mode: Mode = Mode.SOCKS5
) -> AsyncIterator[TransportProcess]:
    """The server of an example."""
    async with launch(
        command(name),
        server={name: "127.0.0.1:0"},
        target=target,
        dialect=dialect,
        mode=mode,
        environ=environ(),
    ) as process:
        yield process


@contextlib.asynccontextmanager
async def client(
    name: str,
    dialect: Dialect,
    mode: Mode = Mode.SOCKS5,
    *,
    options: Mapping[str, Any] = NO_ARGS,
    target: Address | None = None,
    proxy: UpstreamProxy | None = None,
) -> AsyncIterator[TransportProcess]:
    """The client of an example."""
    async with launch(
        command(name),
        client=[name],
        target=target,
        proxy=proxy,
        dialect=dialect,
        mode=mode,
        options={name: options} if options else {},
        environ=environ(),
    ) as process:
        yield process


@contextlib.asynccontextmanager
async def transparent_pair(
    name: str, dialect: Dialect, target: Address, mode: Mode
) -> AsyncIterator[tuple[TransportProcess, TransportProcess]]:
    """Server and client of an example in a mode in which applications cannot name the server."""
    async with server(name, dialect, target, mode) as far:
        method = far.method(name)
        assert isinstance(method, SMethod)
        # PT 3.0 has an option for what PT 2.2 says by a flag.
        spelled = {} if dialect is PT2_2 else {"serverAddress": str(method.address)}
        async with client(
            name,
            dialect,
            mode,
            options={**method.args, **spelled},
            target=None if spelled else method.address,
        ) as near:
            yield far, near


async def in_each(dialects: Iterable[Dialect], check: Callable[[Dialect], Awaitable[None]]) -> None:
    """Check something in several editions at a time, and tell in which it failed."""

    async def one(dialect: Dialect) -> None:
        try:
            await check(dialect)
        except Exception as error:
            error.add_note(f"in {dialect}")
            raise

    async with asyncio.TaskGroup() as group:
        for dialect in dialects:
            group.create_task(one(dialect))


async def exchanged(stream: Stream, data: bytes) -> bytes:
    """Send data and its end; returns all that comes back, up to its end."""

    async def send() -> None:
        await stream.send(data)
        await stream.send_eof()

    sending = asyncio.create_task(send())
    try:
        returned = await read_all(stream)
        await sending
    finally:
        sending.cancel()
        await stream.aclose()
    return returned


async def answer_to(conversation: Datagrams, data: bytes) -> bytes:
    """The answer to a datagram, which is sent again until there is one."""
    while True:
        await conversation.send(data)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                if (answer := await conversation.receive()) is not None:
                    return answer


# --- STUN (RFC 5389) ------------------------------------------------------------------------------

BINDING_REQUEST, BINDING_SUCCESS, XOR_MAPPED_ADDRESS = 0x0001, 0x0101, 0x0020
COOKIE = 0x2112A442


def binding_request(transaction: bytes) -> bytes:
    return struct.pack(">HHI12s", BINDING_REQUEST, 0, COOKIE, transaction)


def mapped_address(response: bytes, transaction: bytes) -> Address:
    """What a binding response says that the client's address is."""
    kind, size, cookie, answered, name, length, _, family, port, ip = struct.unpack(
        ">HHI12sHHBBHI", response
    )
    assert (kind, size, cookie, answered) == (BINDING_SUCCESS, 12, COOKIE, transaction)
    assert (name, length, family) == (XOR_MAPPED_ADDRESS, 8, 1)
    octets = (ip ^ COOKIE).to_bytes(4, "big")
    return Address(".".join(map(str, octets)), port ^ COOKIE >> 16)


@define
class StunServer(asyncio.DatagramProtocol):
    """A server that tells its clients their address, and remembers what it was asked."""

    address: Address = field(init=False)
    asked: list[bytes] = field(factory=list)
    clients: list[Address] = field(factory=list)
    _transport: Any = field(init=False)

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.address = Address(*transport.get_extra_info("sockname"))

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked.append(data)
        self.clients.append(Address(*addr))
        kind, size, cookie, transaction = struct.unpack_from(">HHI12s", data)
        if (kind, size, cookie) == (BINDING_REQUEST, 0, COOKIE):
            ip = int.from_bytes(map(int, addr[0].split(".")), "big")
            attribute = (XOR_MAPPED_ADDRESS, 8, 0, 1, addr[1] ^ COOKIE >> 16, ip ^ COOKIE)
            head = (BINDING_SUCCESS, 12, COOKIE, transaction)
            self._transport.sendto(struct.pack(">HHI12sHHBBHI", *head, *attribute), addr)


@contextlib.asynccontextmanager
async def stun_server() -> AsyncIterator[StunServer]:
    """A STUN server on loopback."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(
        StunServer, local_addr=("127.0.0.1", 0)
    )
    try:
        yield protocol
    finally:
        transport.close()
