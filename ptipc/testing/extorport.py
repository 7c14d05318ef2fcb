"""An Extended ORPort for tests of server transports: who came, and a cookie that can be changed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from ptipc.blocking.extorserver import ExtOrPortServer
from ptipc.blocking.streams import Stream
from ptipc.core.launch import Client

__all__ = ["ExtOrPort"]


def _echo(stream: Stream, client: Client) -> None:
    while data := stream.receive():
        stream.send(data)


class ExtOrPort(ExtOrPortServer):
    """Brings clients to a handler, which sends everything back if none is given.

    ``launch(..., **port.settings)`` tells a server where it is.
    """

    def __init__(
        self, handler: Callable[[Stream, Client], object] = _echo, **settings: Any
    ) -> None:
        self.clients: list[Client] = []
        """Who came: the address and the transport that was told of each."""
        self._came = threading.Condition()

        def serve(stream: Stream, client: Client) -> object:
            with self._came:
                self.clients.append(client)
                self._came.notify_all()
            return handler(stream, client)

        super().__init__(serve, **settings)

    def __enter__(self) -> ExtOrPort:
        super().__enter__()
        return self

    @property
    def settings(self) -> dict[str, Any]:
        """What a server has to be told, as ``launch`` and ``FakeHost`` take it."""
        return {"extended_port": self.address, "auth_cookie": self.cookie_file}

    def wait_for_client(self, number: int = 1, timeout: float = 10.0) -> Client:
        """The first client, or the nth.  Raises TimeoutError if it does not come."""
        with self._came:
            if not self._came.wait_for(lambda: len(self.clients) >= number, timeout):
                raise TimeoutError(f"client {number} has not come")
            return self.clients[number - 1]
