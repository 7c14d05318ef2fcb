"""A host that is written with ptipc, for the tester: it does what its plan says.

It starts the transport process, keeps it running, connects to the target if there is one, and ends
when it is asked to: ``python ourhost.py PLAN.json``; with the word ``blocking`` behind it, by
threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from ptipc.aio.supervise import Supervisor, supervise
from ptipc.blocking.supervise import Supervisor as BlockingSupervisor
from ptipc.blocking.supervise import supervise as supervise_blocking
from ptipc.core.codecs import MODE, TARGET, Mode, UpstreamProxy
from ptipc.core.dialects import DIALECTS
from ptipc.core.errors import PtipcError
from ptipc.core.escapes import Args
from ptipc.core.launch import Client, LaunchError, Plan, plan

PROXIES = {"socks5": "socks5_proxy", "socks4a": "socks4_proxy", "http": "http_proxy"}


def proxy_of(told: dict[str, Any]) -> UpstreamProxy | None:
    for scheme, key in PROXIES.items():
        if key in told:
            user, password = told.get("socks5_user"), told.get("socks5_password")
            if "http_auth" in told:
                user, _, password = told["http_auth"].partition(":")
            return UpstreamProxy(scheme, TARGET.parse(told[key]), user, password)
    return None


def plan_of(told: dict[str, Any], handler: Any) -> Plan:
    dialect = next(each for each in DIALECTS if each.version == told["dialect"])
    settings: dict[str, Any] = {
        "dialect": dialect,
        "state": told["state"],
        "stop_timeouts": (3.0, 2.0),
        "timeout": 5.0,
    }
    names = told["names"]
    if told["role"] == "client":
        settings |= {key: told[key] for key in ("outbound_v4", "outbound_v6") if key in told}
        if "mode" in told:
            settings["mode"] = MODE.parse(told["mode"])
            if not dialect.environment:  # then there is no flag for it, either (C36)
                settings["options"] = {names[0]: {"serverAddress": told["target"]}}
            else:
                settings["target"] = told["target"]
        return plan(told["command"], client=names, proxy=proxy_of(told), **settings)
    places = dict.fromkeys(names, "127.0.0.1:0")
    if "bind" in told:
        places[names[0]] = told["bind"]
    options = {names[0]: told["option"]} if "option" in told else {}
    if "extorport" in told:
        settings["handler"] = handler
    return plan(told["command"], server=places, target="127.0.0.1:9", options=options, **settings)


def route(told: dict[str, Any]) -> tuple[Any, ...]:
    return told["names"][0], TARGET.parse(told["target"]), Args(map(tuple, told.get("args", ())))


def connects(told: dict[str, Any]) -> bool:
    return "target" in told and told.get("mode", Mode.SOCKS5.value) == Mode.SOCKS5.value


# --- through asyncio ------------------------------------------------------------------------------


async def ignore(stream: Any, client: Client) -> None:
    while await stream.receive():
        pass


async def connect(supervisor: Supervisor, told: dict[str, Any]) -> None:
    await ignore(await supervisor.dial(*route(told)), Client(None, None))


async def main(told: dict[str, Any]) -> None:
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
    async with supervise(plan_of(told, ignore)) as supervisor:
        connecting = None
        if connects(told):
            connecting = asyncio.create_task(connect(supervisor, told))
        await asked.wait()
        if connecting is not None:
            connecting.cancel()
            with contextlib.suppress(PtipcError, OSError, asyncio.CancelledError):
                await connecting


# --- through threads ------------------------------------------------------------------------------


def ignore_blocking(stream: Any, client: Client) -> None:
    while stream.receive():
        pass


def connect_blocking(supervisor: BlockingSupervisor, told: dict[str, Any]) -> None:
    with contextlib.suppress(PtipcError, OSError):
        ignore_blocking(supervisor.dial(*route(told)), Client(None, None))


def main_blocking(told: dict[str, Any]) -> None:
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: asked.set())
    with supervise_blocking(plan_of(told, ignore_blocking)) as supervisor:
        if connects(told):
            threading.Thread(target=connect_blocking, args=[supervisor, told], daemon=True).start()
        asked.wait()


if __name__ == "__main__":
    told_of_it = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    try:
        if "blocking" in sys.argv[2:]:
            main_blocking(told_of_it)
        else:
            asyncio.run(main(told_of_it))
    except LaunchError as error:
        sys.exit(str(error))
