"""The world through asyncio: transports as executables, and hosts that launch them."""

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
    DatagramTransportListener,
    Listener,
    StreamTransport,
    Transport,
)
from ptipc.core.launch import Client, Plan, plan
from ptipc.core.supervision import Backoff

__all__ = [
    "Backoff",
    "Capability",
    "Client",
    "DatagramDialer",
    "DatagramListener",
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
]
