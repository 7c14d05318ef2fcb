"""Pluggable Transport IPC: both sides, every edition of the specification.

This is the protocol without any input or output.  ``ptipc.aio`` and ``ptipc.blocking`` have the
world: transports as executables, and hosts that launch them and dial through them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ptipc.doors import open_door

if TYPE_CHECKING:
    from ptipc.core.bridgelines import BridgeLine
    from ptipc.core.codecs import Address, LogLevel, Mode, Protocol, UpstreamProxy
    from ptipc.core.config import Config
    from ptipc.core.dialects import DIALECTS, PT1, PT2_0, PT2_2, PT3_0, Dialect, Role
    from ptipc.core.errors import (
        ConfigError,
        LocalProtocolError,
        PtipcError,
        Refused,
        RemoteProtocolError,
    )
    from ptipc.core.escapes import Args
    from ptipc.core.extorport import ExtOrPortInitiator, ExtOrPortResponder
    from ptipc.core.messages import Message, emit_line, parse_line
    from ptipc.core.session import HostSession, TransportSession
    from ptipc.core.socks import SocksInitiator, SocksResponder

__all__ = [
    "DIALECTS",
    "PT1",
    "PT2_0",
    "PT2_2",
    "PT3_0",
    "Address",
    "Args",
    "BridgeLine",
    "Config",
    "ConfigError",
    "Dialect",
    "ExtOrPortInitiator",
    "ExtOrPortResponder",
    "HostSession",
    "LocalProtocolError",
    "LogLevel",
    "Message",
    "Mode",
    "Protocol",
    "PtipcError",
    "Refused",
    "RemoteProtocolError",
    "Role",
    "SocksInitiator",
    "SocksResponder",
    "TransportSession",
    "UpstreamProxy",
    "emit_line",
    "parse_line",
]

open_door(
    __name__,
    (
        "ptipc.core.errors",
        "ptipc.core.dialects",
        "ptipc.core.codecs",
        "ptipc.core.escapes",
        "ptipc.core.messages",
        "ptipc.core.bridgelines",
        "ptipc.core.config",
        "ptipc.core.socks",
        "ptipc.core.extorport",
        "ptipc.core.session",
    ),
)
