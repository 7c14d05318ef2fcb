"""An Extended ORPort of our own, through which a server's clients come with their addresses.

tor has one for its bridges; any other host can have this one.  Source: ext-orport-spec.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from attrs import define, field

from ptipc.aio.accepting import Serving, serve_handshakes
from ptipc.aio.streams import SocketStream, Stream, drive, see_off
from ptipc.core.codecs import Address
from ptipc.core.errors import PtipcError
from ptipc.core.extorport import ExtOrPortResponder
from ptipc.core.handshake import Handshake
from ptipc.core.launch import Client
from ptipc.launching import CookieFile
from ptipc.sockets import bound_address, listening_socket

__all__ = ["ExtOrPortServer", "Handler"]

log = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT = 10.0
"""How many seconds a transport process has to prove that it knows the cookie, and to say all."""
HALF_OPEN = 1024
"""How many connections may be without that proof at a time."""

Handler: TypeAlias = Callable[[Stream, Client], Awaitable[object]]
"""Serves a client; when it is done the stream is closed."""

Admit: TypeAlias = Callable[[Client], "bool | Awaitable[bool]"]
"""Says whether a client is wanted, a coroutine or not."""


@define(eq=False)
class ExtOrPortServer:
    """Where the server transports of this machine bring their clients.

    ``handler`` is run in a task for each client that ``admit`` lets in (all, if not given); what is
    still running is cancelled when the server is closed.  Use as an asynchronous context manager;
    ``address`` and ``cookie_file`` are what a transport process has to be told.  A connection that
    does not prove within ``timeout`` seconds that it can read the cookie is closed; when more than
    ``half_open`` are in that state the oldest has to go.
    """

    handler: Handler
    address: Address = field(default=Address("127.0.0.1", 0), kw_only=True)
    """Where it listens; port 0 becomes a port."""
    cookie_file: str | None = field(default=None, kw_only=True)
    """The file with the key; if not given, one in a directory that is removed afterwards."""
    admit: Admit | None = field(default=None, kw_only=True)
    timeout: float = field(default=HANDSHAKE_TIMEOUT, kw_only=True)
    half_open: int = field(default=HALF_OPEN, kw_only=True)
    _key: CookieFile = field(factory=CookieFile, init=False)
    _serving: Serving | None = field(default=None, init=False)
    _tasks: set[asyncio.Task[None]] = field(factory=set, init=False)

    async def __aenter__(self) -> ExtOrPortServer:
        listener = listening_socket(self.address)
        try:
            self.address = bound_address(listener)
            self._key.path = self.cookie_file
            self._key.make()
            self.cookie_file = self._key.path
            self._serving = serve_handshakes(
                listener, self._machine, self._ready, self.timeout, half_open=self.half_open
            )
        except BaseException:
            listener.close()
            self._remove()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._serving is not None:
            self._serving.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._remove()

    def rotate(self) -> None:
        """Make a new cookie; handshakes that have begun to use the old one end with it.

        For all others it is of no use from now on.  The file is replaced in one step, so that
        whoever reads it finds one or the other.  Raises OSError, and then the old one is still
        good.
        """
        self._key.rotate()

    def _remove(self) -> None:
        self._key.remove()
        self.cookie_file = self._key.path

    # --- connections

    def _machine(self) -> ExtOrPortResponder:
        return ExtOrPortResponder(lambda: self._key.cookie, secrets.token_bytes(32))

    def _ready(self, stream: SocketStream, machine: Handshake) -> None:
        assert isinstance(machine, ExtOrPortResponder)
        task = asyncio.create_task(self._serve(stream, machine))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, stream: SocketStream, machine: ExtOrPortResponder) -> None:
        client = Client(machine.client_address, machine.transport)
        try:
            if await self._is_wanted(client):
                machine.accept()
                await drive(machine, stream, self.timeout)
                await self.handler(stream, client)
            else:
                machine.deny()
                await drive(machine, stream, self.timeout)
                await see_off(stream)
        except (OSError, PtipcError) as error:
            log.info("a client's connection ended: %s", error)
        except Exception:
            log.exception("a client's handler failed")
        finally:
            await stream.aclose()

    async def _is_wanted(self, client: Client) -> bool:
        if self.admit is None:
            return True
        wanted = self.admit(client)
        return await wanted if inspect.isawaitable(wanted) else bool(wanted)
