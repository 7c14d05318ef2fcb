"""A host is judged by the transport process that it starts, which is ours and plays a script.

What an operator would tell the host is told by placeholders in its command line and in files that
are written for it, ``{target}`` and the like.  A line of a file, or a word of the command line,
with a placeholder for which a case has nothing is left out; a case that needs one which is in
neither does not apply.  ``{plan}`` is a file with all of it, for hosts that are made to be judged.
"""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from attrs import define, field

from ptipc.conformance import scripted
from ptipc.conformance.cases import LEVELS, Case, fill, load, select
from ptipc.conformance.launching import Launch
from ptipc.conformance.links import Link
from ptipc.conformance.peers import Peer
from ptipc.conformance.process import Process
from ptipc.conformance.recording import Recorder
from ptipc.conformance.stage import Stage
from ptipc.core.codecs import Address
from ptipc.core.dialects import Role
from ptipc.osdep import WINDOWS
from ptipc.sockets import free_address

__all__ = [
    "PLACEHOLDERS",
    "HostScene",
    "HostStage",
    "host_cases",
    "missing_for_host",
    "placeholders_in",
]

PLACEHOLDERS: Mapping[str, str] = {
    "pt": "the path of the transport process",
    "pt_command": "the same as several words",
    "name": "the name of the transport",
    "names": "the names, if there are several, with commas",
    "dir": "a fresh directory",
    "plan": "a file that tells all of it as JSON",
    "target": "the address to connect to",
    "args": "the args of that connection: KEY=VALUE ...",
    "socks5_proxy": "an upstream proxy of the type socks5",
    "socks5_user": "its user",
    "socks5_password": "its password",
    "socks4_proxy": "an upstream proxy of the type socks4a",
    "http_proxy": "an upstream proxy of the type http",
    "http_auth": "its USER:PASSWORD",
    "mode": "the mode of a client's transport",
    "outbound_v4": "the IPv4 address from which a transport connects",
    "outbound_v6": "the IPv6 address from which a transport connects",
    "bind": "the address at which the first transport of a server listens",
    "option": "options of the first transport of a server: KEY=VALUE ...",
    "extorport": "an address for an Extended ORPort, which the host then has to have",
}
"""What an operator tells a host, or a case needs."""

_FOUND = re.compile(r"\{([a-z0-9_]+)\}")

TARGET = "127.0.0.1:9"
"""Where a host connects to if a case does not say where; nobody is there."""

FOREIGN = {
    "TOR_PT_PROXY": "socks5://127.0.0.1:9",
    "TOR_PT_ORPORT": "127.0.0.1:9",
    "TOR_PT_EXTENDED_SERVER_PORT": "127.0.0.1:9",
    "TOR_PT_AUTH_COOKIE_FILE": "/nonexistent/cookie",
    "TOR_PT_SERVER_BINDADDR": "other-127.0.0.1:9",
    "TOR_PT_OUTBOUND_BIND_ADDRESS_V4": "127.0.0.9",
    "TOR_PT_SOMETHING_ELSE": "1",
}
"""Variables of another launch: what a host has if it was itself started like a transport."""


def placeholders_in(text: str) -> list[str]:
    """The names that stand in braces in a text."""
    return _FOUND.findall(text)


def host_cases(
    role: str | None,
    dialect: str | None,
    wanted: Sequence[str] = (),
    unwanted: Sequence[str] = (),
    level: str = "INTEROP",
) -> tuple[Case, ...]:
    """The cases about hosts of transport processes in a role, in an edition; None: in any."""
    least = LEVELS.index(level)
    found = (
        case
        for case in load(["process"])
        if case.op == "process/host"
        and role in (None, case.content["input"].get("role", "client"))
        and (dialect is None or dialect in case.dialects)
        and LEVELS.index(case.level) <= least
    )
    return select(found, wanted, unwanted)


@define(kw_only=True, eq=False)
class HostStage(Stage):
    """What all cases about one host have in common."""

    files: Mapping[str, str] = field(factory=dict)
    """Files for the host, in its directory: their names and what is in them."""

    @property
    def known(self) -> set[str]:
        """What the host can be told."""
        texts = [*self.command, *self.files.values()]
        found = {name for text in texts for name in placeholders_in(text)}
        return set(PLACEHOLDERS) if "plan" in found else found


def missing_for_host(case: Case, stage: HostStage) -> str | None:
    """Why a case does not apply to a host; None: it does."""
    for need in case.content.get("needs", ()):
        if need not in stage.known:
            return f"needs: {{{need}}}, {PLACEHOLDERS[need]}"
    return None


# --- the transport process, as the tester sees it -------------------------------------------------


class Report(asyncio.Protocol):
    """What one transport process tells of itself, line by line, until it is gone."""

    def __init__(self, scene: HostScene) -> None:
        self.launch: Mapping[str, Any] = {}
        """With what it was started."""
        self.played = asyncio.Event()
        self.gone = asyncio.Event()
        self._scene = scene
        self._transport: asyncio.Transport | None = None
        self._kept = b""
        scene.reports.append(self)
        self._name = str(len(scene.reports))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        *lines, self._kept = (self._kept + data).split(b"\n")
        for line in lines:
            self._take(json.loads(line))
        self._scene.changed.set()

    def _take(self, told: dict[str, Any]) -> None:
        event = told.pop("event")
        if event == "started":
            self.launch = told
        text = json.dumps(told) if event == "started" else str(told.get("what", ""))
        who = "tester" if event in ("played", "ended") else "target"
        self._scene.recorder.note(who, "pt", event, text, name=self._name)
        if event == "played":
            self.played.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._scene.recorder.note("target", "pt", "gone", "", name=self._name)
        self.gone.set()
        self._scene.changed.set()

    def hang_up(self) -> None:
        """Have the process end, if it is still there."""
        if self._transport is not None:
            self._transport.abort()


class SocksPort(Peer):
    """The port that the transport process says is its own; the script of the case serves it."""

    channel = "port"

    async def serve(self, link: Link) -> None:
        """Leave it to the script."""


class HostTarget(SocksPort):
    """Where the host has its transport connect to, and where it shall not connect by itself."""

    channel = "target"


class HostScene:
    """What is there while a case about a host is played."""

    def __init__(self, stage: HostStage, recorder: Recorder, input: Mapping[str, Any]) -> None:
        self.stage = stage
        self.recorder = recorder
        self.input = input
        self.place = stage.place()
        self.directory = self.place.root / "cwd"
        self.process = Process(stage.role, stage.dialect, recorder)
        self.port = SocksPort(recorder, "manual")
        self.target = HostTarget(recorder, "manual")
        self.links: dict[str, Link] = {}
        self.values: dict[str, str] = {}
        self.reports: list[Report] = []
        self.changed = asyncio.Event()
        """Set when something is reported; whoever waits for it clears it."""
        self._server: asyncio.Server | None = None

    # --- before

    async def set_up(self) -> None:
        """Write the script and the files, and find out what stands for what in them."""
        stage = self.stage
        self.place.prepare("present")
        await self.port.open()
        await self.target.open()
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Report(self), "127.0.0.1", 0
        )
        report = Address(*self._server.sockets[0].getsockname())
        name = stage.transports[0]
        self.values = {
            "version": stage.dialect.version,
            "stream": stage.dialect.error_stream.value,
            "name": name,
            "port": str(self.port.address),
            "port-number": str(self.port.address.port),
            "listener": str(self.target.address),
            "free": str(free_address()),
        }
        self.values |= self._told()
        script = self.place.helper / "script.json"
        steps = fill(self.input.get("pt", ()), self.values)
        script.write_text(json.dumps({"report": str(report), "steps": steps}), "utf-8")
        words = [sys.executable, "-I", "-S", str(scripted.__file__), str(script)]
        self.values |= {
            "dir": str(self.directory),
            "pt": str(self._wrapper(words)),
            "pt_command": " ".join(words),
            "plan": str(self.directory / "plan.json"),
        }
        (self.directory / "plan.json").write_text(json.dumps(self._plan(words)), "utf-8")
        for file, template in stage.files.items():
            (self.directory / file).write_text(self._filled(template), "utf-8")
        self.recorder.launch |= {
            "role": stage.role.value,
            "dialect": stage.dialect.version,
            "transports": list(stage.transports),
            "proxy": False,
            "values": dict(self.values),
            "capabilities": [],
        }

    def _told(self) -> dict[str, str]:
        """What the operator tells the host in this case, by placeholder."""
        told = self._given()
        names = told.get("names") or [self.values["name"]]
        return {
            "names": ",".join(fill(names, self.values)),
            **{
                key: " ".join(f"{name}={text}" for name, text in value)
                if key in ("args", "option")
                else fill(value, self.values)
                for key, value in told.items()
                if key != "names"
            },
        }

    def _given(self) -> Mapping[str, Any]:
        told = self.input.get("told", {})
        # A host like tor starts nothing for a client that is not to connect.
        return told if self.stage.role is Role.SERVER else {"target": TARGET, "args": [], **told}

    def _plan(self, words: Sequence[str]) -> dict[str, Any]:
        """The same for a host that reads JSON."""
        told = self._given()
        return {
            "dialect": self.stage.dialect.version,
            "role": self.input.get("role", "client"),
            "command": list(words),
            "state": str(self.place.state),
            **fill({"names": ["{name}"], **told}, self.values),
        }

    def _wrapper(self, words: Sequence[str]) -> Path:
        """The transport process as one executable file."""
        path = self.place.helper / ("pt.cmd" if WINDOWS else "pt")
        text = (
            f"@{' '.join(words)} %*\r\n"
            if WINDOWS
            else f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n'
        )
        path.write_text(text, "utf-8", newline="")
        path.chmod(0o755)
        return path

    def _filled(self, template: str) -> str:
        lines = [line for line in template.splitlines(keepends=True) if self._has(line)]
        text: str = fill("".join(lines), self.values)
        return text

    def _has(self, text: str) -> bool:
        """Whether there is something for every placeholder in it."""
        return all(name in self.values for name in placeholders_in(text))

    async def start(self) -> None:
        """Start the host.  Raises OSError if there is no such program."""
        words = [fill(word, self.values) for word in self.stage.command if self._has(word)]
        extra = {**self.stage.extra, **(FOREIGN if self.input.get("foreign") else {})}
        launch = Launch(command=words, argv=(), set={}, extra=extra)
        self.recorder.launch |= launch.as_json()
        self.recorder.note("tester", "launch", "start", " ".join(words))
        await self.process.start(launch, self.place)

    async def start_again(self) -> None:
        """Start the host once more, in the same directories.  Raises OSError."""
        await self.process.kill()
        self.process = Process(self.stage.role, self.stage.dialect, self.recorder)
        await self.start()

    async def strike(self) -> None:
        """End everything that is left."""
        await self.process.kill()
        for report in self.reports:
            report.hang_up()
        for link in self.links.values():
            link.abort()
        if self._server is not None:
            self._server.close()
        await self.port.close()
        await self.target.close()
