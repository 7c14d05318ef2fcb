"""A transport as an executable that any host can launch (PT 1 section 3, PT 3.0 section 1).

``run`` is the whole main program of a transport.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Mapping, Sequence
from typing import NoReturn

from ptipc import program
from ptipc.aio.dispatcher import Dispatcher
from ptipc.aio.service import Limits
from ptipc.aio.transport import DatagramTransport, Transport

__all__ = ["run"]


def run(
    *transports: Transport | DatagramTransport,
    environ: Mapping[str, str] | None = None,
    argv: Sequence[str] | None = None,
    limits: Limits | None = None,
    log_level: int = logging.INFO,
    unsafe_logging: bool = False,
) -> NoReturn:
    """Be a transport process that offers some transports; never returns.

    ``environ`` and ``argv`` (without the program's name) are those of the process if not given.
    Records of Python's logging from ``log_level`` on become LOG lines, in editions in which the
    host does not say from which level on it wants them; the addresses in them are elided unless
    ``unsafe_logging``.
    Raises SystemExit: 0 after a graceful end, 64, 69 or 78 for a configuration that cannot be used
    (PT 3.0 section 1.2), 70 for a fault of our own.  If the program does anything after that, a
    signal that asks it to end does so at once, with the same status.
    """
    names = [transport.name for transport in transports]
    raise SystemExit(
        program.main(
            lambda: transports,
            names,
            functools.partial(Dispatcher, limits=limits or Limits()),
            _serve,
            environ=environ,
            argv=argv,
            log_level=log_level,
            unsafe_logging=unsafe_logging,
        )
    )


def _serve(dispatcher: Dispatcher) -> int:
    return asyncio.run(dispatcher.serve())
