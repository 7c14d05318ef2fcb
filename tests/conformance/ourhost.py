"""A host that is written with ptipc, for the tester: it does what its plan says.

It starts the transport process, keeps it running, connects to the target if there is one, and ends
when it is asked to: ``python ourhost.py PLAN.json``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from pathlib import Path
from typing import Any

from ptipc.aio.host import LaunchError
from ptipc.aio.supervise import Supervisor, supervise
from ptipc.core.codecs import TARGET, UpstreamProxy
from ptipc.core.dialects import DIALECTS
from ptipc.core.errors import PtipcError
from ptipc.core.escapes import Args
from ptipc.core.launch import Plan, plan

PROXIES = {"socks5": "socks5_proxy", "socks4a": "socks4_proxy", "http": "http_proxy"}


def proxy_of(told: dict[str, Any]) -> UpstreamProxy | None:
    for scheme, key in PROXIES.items():
        if key in told:
            user, password = told.get("socks5_user"), told.get("socks5_password")
            if "http_auth" in told:
                user, _, password = told["http_auth"].partition(":")
            return UpstreamProxy(scheme, TARGET.parse(told[key]), user, password)
    return None


def plan_of(told: dict[str, Any]) -> Plan:
    settings: dict[str, Any] = {
        "dialect": next(each for each in DIALECTS if each.version == told["dialect"]),
        "state": told["state"],
        "stop_timeouts": (1.0, 1.0),
        "timeout": 5.0,
    }
    names = told["names"]
    if told["role"] == "client":
        return plan(told["command"], client=names, proxy=proxy_of(told), **settings)
    places = dict.fromkeys(names, told.get("bind", "127.0.0.1:0"))
    options = {names[0]: told["option"]} if "option" in told else {}
    return plan(told["command"], server=places, target="127.0.0.1:9", options=options, **settings)


async def connect(supervisor: Supervisor, told: dict[str, Any]) -> None:
    stream = await supervisor.dial(
        told["names"][0], TARGET.parse(told["target"]), Args(map(tuple, told.get("args", ())))
    )
    while await stream.receive():
        pass


async def main() -> None:
    told = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
    try:
        async with supervise(plan_of(told)) as supervisor:
            connecting = None
            if "target" in told:
                connecting = asyncio.create_task(connect(supervisor, told))
            await asked.wait()
            if connecting is not None:
                connecting.cancel()
                with contextlib.suppress(PtipcError, OSError, asyncio.CancelledError):
                    await connecting
    except LaunchError as error:
        sys.exit(str(error))


asyncio.run(main())
