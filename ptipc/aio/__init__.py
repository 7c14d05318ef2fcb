"""The world through asyncio: transports as executables, and hosts that launch them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ptipc.doors import open_door

if TYPE_CHECKING:
    from ptipc.aio.attach import InProcessDialer, attach, chain, in_process
    from ptipc.aio.datagrams import DatagramListener, Datagrams, FramedDatagrams
    from ptipc.aio.dialing import PortDialer
    from ptipc.aio.dispatcher import Dispatcher
    from ptipc.aio.extorserver import ExtOrPortServer
    from ptipc.aio.host import LaunchError, ProcessEnded, TransportProcess, launch
    from ptipc.aio.nesting import Nested, one_shot, through
    from ptipc.aio.network import DatagramDialer, Dialer, Network, StreamListener, SystemNetwork
    from ptipc.aio.program import run
    from ptipc.aio.streams import (
        MappedStream,
        SocketStream,
        Stream,
        drive,
        map_stream,
        receive_exactly,
        relay,
    )
    from ptipc.aio.supervise import GaveUp, Supervisor, supervise
    from ptipc.aio.transport import (
        Capability,
        DatagramTransport,
        DatagramTransportListener,
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
    "DatagramDialer",
    "DatagramListener",
    "DatagramTransport",
    "DatagramTransportListener",
    "Datagrams",
    "Dialer",
    "Dispatcher",
    "ExtOrPortServer",
    "FramedDatagrams",
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
    "wrap_dialer",
    "wrap_listener",
]

open_door(
    __name__,
    (
        "ptipc.aio.streams",
        "ptipc.aio.transport",
        "ptipc.aio.program",
        "ptipc.aio.network",
        "ptipc.aio.nesting",
        "ptipc.aio.dispatcher",
        "ptipc.aio.datagrams",
        "ptipc.aio.dialing",
        "ptipc.aio.attach",
        "ptipc.aio.extorserver",
        "ptipc.aio.host",
        "ptipc.aio.supervise",
        "ptipc.core.launch",
        "ptipc.core.supervision",
    ),
)
