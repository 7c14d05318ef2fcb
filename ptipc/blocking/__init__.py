"""The world through threads: transports as executables, and hosts that launch them."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ptipc.blocking.attach import InProcessDialer, attach, chain, in_process
    from ptipc.blocking.dialing import PortDialer
    from ptipc.blocking.dispatcher import Dispatcher
    from ptipc.blocking.extorserver import ExtOrPortServer
    from ptipc.blocking.host import LaunchError, ProcessEnded, TransportProcess, launch
    from ptipc.blocking.nesting import Nested, one_shot, through
    from ptipc.blocking.network import Dialer, Network, StreamListener, SystemNetwork
    from ptipc.blocking.program import run
    from ptipc.blocking.streams import (
        MappedStream,
        SocketStream,
        Stream,
        drive,
        map_stream,
        receive_exactly,
        relay,
        within,
    )
    from ptipc.blocking.supervise import GaveUp, Supervisor, supervise
    from ptipc.blocking.transport import Capability, Listener, StreamTransport, Transport
    from ptipc.core.launch import Client, Plan, plan
    from ptipc.core.supervision import Backoff

__all__ = [
    "Backoff",
    "Capability",
    "Client",
    "Dialer",
    "Dispatcher",
    "ExtOrPortServer",
    "GaveUp",
    "InProcessDialer",
    "LaunchError",
    "Listener",
    "MappedStream",
    "Nested",
    "Network",
    "Plan",
    "PortDialer",
    "ProcessEnded",
    "SocketStream",
    "Stream",
    "StreamListener",
    "StreamTransport",
    "Supervisor",
    "SystemNetwork",
    "Transport",
    "TransportProcess",
    "attach",
    "chain",
    "drive",
    "in_process",
    "launch",
    "map_stream",
    "one_shot",
    "plan",
    "receive_exactly",
    "relay",
    "run",
    "supervise",
    "through",
    "within",
]

_ROOMS = (
    "blocking.streams",
    "blocking.transport",
    "blocking.program",
    "blocking.network",
    "blocking.nesting",
    "blocking.dispatcher",
    "blocking.dialing",
    "blocking.attach",
    "blocking.extorserver",
    "blocking.host",
    "blocking.supervise",
    "core.launch",
    "core.supervision",
)
"""Where the names are; first what a transport process needs, for which a user waits."""


def __getattr__(name: str) -> Any:
    # The names are looked for when they are asked for: that process has no use for a host's.
    if name in __all__:
        for room in _ROOMS:
            module = importlib.import_module(f"ptipc.{room}")
            if name in module.__all__:
                value = globals()[name] = getattr(module, name)
                return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Door(ModuleType):
    """This package, in which two functions have the names of the modules that they are in."""

    def __setattr__(self, name: str, value: object) -> None:
        # A module that is imported is put into its package; there the function is to be found.
        if name not in __all__ or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Door
