"""The world through threads: transports as executables, and hosts that launch them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ptipc.doors import open_door

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
    from ptipc.blocking.transport import (
        Capability,
        Listener,
        StreamTransport,
        Transport,
        wrap_dialer,
        wrap_listener,
    )
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
    "wrap_dialer",
    "wrap_listener",
]

open_door(
    __name__,
    (
        "ptipc.blocking.streams",
        "ptipc.blocking.transport",
        "ptipc.blocking.program",
        "ptipc.blocking.network",
        "ptipc.blocking.nesting",
        "ptipc.blocking.dispatcher",
        "ptipc.blocking.dialing",
        "ptipc.blocking.attach",
        "ptipc.blocking.extorserver",
        "ptipc.blocking.host",
        "ptipc.blocking.supervise",
        "ptipc.core.launch",
        "ptipc.core.supervision",
    ),
)
