"""A server that sends everything back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from ptipc.core.codecs import Address

__all__ = ["echo_server"]


@contextlib.asynccontextmanager
async def echo_server() -> AsyncIterator[Address]:
    """A server on loopback, and where it is."""

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
