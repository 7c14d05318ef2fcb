"""SOCKS clients as hosts have them: for tests of a client transport's port."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from typing import Any

from ptipc.core.codecs import TARGET, Address
from ptipc.core.dialects import PT1, Dialect
from ptipc.core.escapes import NO_ARGS
from ptipc.core.handshake import Handshake
from ptipc.core.socks import SocksInitiator

__all__ = ["drive", "socks_connect"]

TIMEOUT = 10.0


def drive(machine: Handshake, stream: socket.socket) -> None:
    """Run one end of a handshake over a socket, and take nothing from it that comes behind.

    Raises what the machine raises, and OSError.
    """
    while True:
        stream.sendall(machine.data_to_send())
        if machine.done or not machine.bytes_needed:
            return
        try:
            data = stream.recv(machine.bytes_needed)
            if data:
                machine.receive_data(data)
            else:
                machine.receive_eof()
        except TimeoutError:
            machine.receive_timeout()


def socks_connect(
    port: Address | str,
    target: Address | str,
    args: Mapping[str, Any] | Iterable[tuple[str, Any]] = NO_ARGS,
    *,
    dialect: Dialect = PT1,
    timeout: float = TIMEOUT,
) -> socket.socket:
    """A connection to a target through a transport's port, as the hosts of an edition ask for it.

    ``timeout`` is that of each wait in seconds, and remains that of the socket.  Raises
    RequestRefused and other errors of ``ptipc.core.errors``, and OSError.
    """
    place = TARGET.parse(port) if isinstance(port, str) else port
    wanted = TARGET.parse(target) if isinstance(target, str) else target
    stream = socket.create_connection((place.host, place.port), timeout)
    try:
        drive(SocksInitiator.for_dialect(dialect, wanted, args), stream)
    except BaseException:
        stream.close()
        raise
    return stream
