"""An Extended ORPort of our own, through which a server's clients come with their addresses.

tor has one for its bridges; any other host can have this one.  Source: ext-orport-spec.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable
from typing import TypeAlias

from attrs import define, field

from ptipc.blocking.accepting import LAST_WORDS, Serving, join, serve_handshakes
from ptipc.blocking.network import Scope
from ptipc.blocking.streams import SocketStream, Stream, drive, see_off
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
HALF_OPEN = 512
"""How many connections may be without that proof at a time."""

Handler: TypeAlias = Callable[[Stream, Client], object]
"""Serves a client; when it is done the stream is closed."""

Admit: TypeAlias = Callable[[Client], bool]
"""Says whether a client is wanted."""


@define(eq=False)
class ExtOrPortServer:
    """Where the server transports of this machine bring their clients.

    ``handler`` is run in a thread for each client that ``admit`` lets in (all, if not given); the
    streams of those that are still running when the server is closed are closed.  Use as a context
    manager; ``address`` and ``cookie_file`` are what a transport process has to be told.  A
    connection that does not prove within ``timeout`` seconds that it can read the cookie is closed;
    when more than ``half_open`` are in that state the oldest has to go.
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
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _handlers: set[threading.Thread] = field(factory=set, init=False)
    _scope: Scope = field(factory=Scope, init=False)
    """Has the streams of the clients that are being served."""

    def __enter__(self) -> ExtOrPortServer:
        listener = listening_socket(self.address)
        self._scope = Scope()
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

    def __exit__(self, *exc: object) -> None:
        if self._serving is not None:
            self._serving.close()
        self._scope.close()
        with self._lock:
            handlers = set(self._handlers)
        join(*handlers, timeout=LAST_WORDS)
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
        thread = threading.current_thread()
        with self._lock:
            self._handlers.add(thread)
        try:
            self._serve(stream, machine)
        finally:
            with self._lock:
                self._handlers.discard(thread)

    def _serve(self, stream: SocketStream, machine: ExtOrPortResponder) -> None:
        client = Client(machine.client_address, machine.transport)
        try:
            self._scope.hold(stream)
            if self.admit is None or self.admit(client):
                machine.accept()
                drive(machine, stream, self.timeout)
                self.handler(stream, client)
            else:
                machine.deny()
                drive(machine, stream, self.timeout)
                see_off(stream)
        except (OSError, PtipcError) as error:
            log.info("a client's connection ended: %s", error)
        except Exception:
            log.exception("a client's handler failed")
        finally:
            stream.close()
