"""A client and a server of one transport in a UDP mode, and an application behind them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from ptipc.aio import Datagrams, Transport
from ptipc.aio.service import Limits
from ptipc.core.codecs import Address, Mode
from ptipc.core.dialects import PT2_2, PT3_0, Dialect
from tests.aio.loopback import Host, dispatching

STUN = bytes.fromhex("0001 0004 2112a442") + bytes(12) + b"data"
"""A message of the mode STUN."""


async def exchange(conversation: Datagrams, data: bytes = STUN) -> bytes | None:
    """Send a datagram until an answer comes: those from before there is a connection are lost."""

    async def again() -> None:
        while True:
            await conversation.send(data)
            await asyncio.sleep(0.005)

    sending = asyncio.create_task(again())
    try:
        return await conversation.receive()
    finally:
        sending.cancel()


@contextlib.asynccontextmanager
async def tunnel(
    transport: Transport,
    mode: Mode,
    *,
    target: Address,
    dialect: Dialect = PT3_0,
    server_limits: Limits | None = None,
    client_limits: Limits | None = None,
) -> AsyncIterator[tuple[Host, Host]]:
    """A client and a server of one transport, and a UDP application behind them."""
    name = transport.name
    async with dispatching(
        transport,
        server={name: "127.0.0.1:0"},
        target=target,
        mode=mode,
        dialect=dialect,
        limits=server_limits,
    ) as (_, server):
        address = server.address(name)
        settings: dict[str, Any] = (
            {"target": address}
            if dialect is PT2_2
            else {"options": {name: {"serverAddress": str(address)}}}
        )
        async with dispatching(
            transport, client=[name], mode=mode, dialect=dialect, limits=client_limits, **settings
        ) as (_, client):
            yield client, server
