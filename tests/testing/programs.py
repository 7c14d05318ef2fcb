"""What tests of the fixtures share: a transport to start, and somebody to connect to."""

from __future__ import annotations

import contextlib
import socketserver
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from ptipc.core.codecs import Address

TRANSPORT = Path(__file__).parents[1] / "conformance" / "mutants" / "transport.py"
PLAIN = [sys.executable, "-I", "-S", str(TRANSPORT)]
"""A transport, ``hello``, that changes nothing; a client or a server."""


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while data := self.request.recv(65536):
                self.request.sendall(data)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


@contextlib.contextmanager
def echo_server() -> Iterator[Address]:
    """Where a server is that sends everything back."""
    with _Server(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield Address("127.0.0.1", server.server_address[1])
        finally:
            server.shutdown()
            thread.join()
