"""A case is played: its script, step by step, on a scene.

Each step leaves its outcome in the transcript (see ``checks``); the first one that is not what the
step wants ends the script, for what follows would make no sense.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from ptipc.conformance.cases import Case, fill, octets
from ptipc.conformance.checks import OR, OUTCOME, matches, step_problem
from ptipc.conformance.linechecks import Problem
from ptipc.conformance.links import Link
from ptipc.conformance.recording import Recorder
from ptipc.conformance.stage import Pooled, Scene, Stage
from ptipc.conformance.verdicts import END, Transcript
from ptipc.core.codecs import Address, Mode
from ptipc.core.dialects import Role
from ptipc.core.errors import PtipcError, Refused
from ptipc.core.socks import SocksInitiator

__all__ = ["VERBS", "Player", "can_share", "play"]

SHARED = {
    *("ready", "connect", "send", "receive", "reply", "closed", "close", "reset", "eof", "quiet"),
    *("dial", "echo", "settle"),
}
"""The verbs of a script behind which a process is as it was before."""


def can_share(case: Case) -> bool:
    """Whether a case will do with a process on which another one was played before."""
    content = case.content
    return (
        case.op == "process/client"
        and not content.get("input")
        and not content.get("expect")
        and bool(content["script"])
        and all(verb in SHARED or verb not in VERBS for step in content["script"] for verb in step)
    )


async def play(stage: Stage, case: Case, *, fresh: bool = False) -> Transcript:
    """Play a case and return what happened; ``fresh``: on a process of its own in any case.

    Raises OSError if the program cannot be started, PtipcError or LookupError if it is our own
    fault that the case cannot be played.
    """
    recorder = Recorder()
    input = case.content.get("input", {})
    shared = can_share(case) and not fresh
    pooled = await _from_pool(stage) if shared else None
    scene = Scene(stage, recorder, input)
    good = False
    try:
        await scene.set_up(pooled)
        await scene.start()
        good = await Player(scene, case).run()
        scene.write_down()
        recorder.note("tester", "script", END)
    finally:
        await scene.strike(keep=good and shared)
    if pooled is None:
        _look_at_files(scene)
    return recorder.transcript()


async def _from_pool(stage: Stage) -> Pooled:
    while stage.pool:
        pooled = stage.pool.pop()
        if not pooled.process.ended.is_set():
            return pooled
    scene = Scene(stage, Recorder(), {})
    try:
        await scene.set_up()
        await scene.start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(stage.timeout):
                await scene.process.ready.wait()
        scene.leave_process()
    finally:
        await scene.strike(keep=False)
    return Pooled(scene.process, scene.place, scene.recorder, scene.values)


def _look_at_files(scene: Scene) -> None:
    for path, mode in scene.place.changes():
        scene.recorder.note("target", "file", "made", path, name=oct(mode & 0o7777))
    client = scene.values["client"].partition(OR)[0].rpartition(":")[0]
    leaking = scene.place.holds(client or "no client")
    if leaking is not None:
        scene.recorder.note("target", "file", "leak", f"the client's address in {leaking}")


class Player:
    """Plays the script of one case, step by step."""

    def __init__(self, scene: Scene, case: Case) -> None:
        self.scene = scene
        self.recorder = scene.recorder
        self.script: Sequence[Mapping[str, Any]] = case.content["script"]
        self.scale = scene.stage.timeout / 10.0
        self._accepted: dict[str, int] = {}

    async def run(self) -> bool:
        """Play the script; whether every step came out as it wants."""
        for at, step in enumerate(self.script):
            self.recorder.step = at
            filled = fill(step, self.scene.values)
            verbs = self.verbs()
            verb = next((word for word in filled if word in verbs), None)
            if verb is None:
                raise LookupError(f"no verb in the step {json.dumps(step)}")
            outcome = await verbs[verb](self, filled[verb], filled)
            if outcome is None:
                continue
            self.recorder.note("tester", "script", OUTCOME, outcome)
            if self.problem(filled, outcome) is not None:
                return False
        return True

    def verbs(self) -> Mapping[str, Verb]:
        """What a step can do, by its verb."""
        return VERBS

    def problem(self, step: Mapping[str, Any], outcome: str) -> Problem | None:
        """What is wrong with how a step ended."""
        return step_problem(step, outcome, self.scene.stage.capabilities)

    # --- the process

    def _within(self, step: Mapping[str, Any], usual: float = 10.0) -> float:
        return float(step.get("within", usual)) * self.scale

    async def _wait(self, event: asyncio.Event, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()
        return event.is_set()

    async def ready(self, want: Any, step: Mapping[str, Any]) -> str:
        process = self.scene.process
        came = await self._wait(process.ready, self._within(step))
        if process.done:
            return "ready"
        return "gone" if came else "timeout"

    async def hear(self, want: str, step: Mapping[str, Any]) -> str:
        """Wait until a line has been said, on either stream."""
        process = self.scene.process
        until = asyncio.get_running_loop().time() + self._within(step)
        while not any(matches(text, want) for text in process.heard):
            left = until - asyncio.get_running_loop().time()
            if process.ended.is_set() or left <= 0:
                return "gone" if process.ended.is_set() else "timeout"
            process.said.clear()
            await self._wait(process.said, left)
        return "heard"

    async def exit(self, want: Any, step: Mapping[str, Any]) -> str:
        """Wait for its end; not for long once it has said that it goes on (``unless``)."""
        process = self.scene.process
        if "unless" in step:
            await self.hear(step["unless"], step)
            await self._wait(process.ended, 2.0 * self.scale)
        else:
            await self._wait(process.ended, self._within(step))
        return "gone" if process.ended.is_set() else "timeout"

    async def running(self, want: Any, step: Mapping[str, Any]) -> str:
        gone = await self._wait(self.scene.process.ended, float(step.get("for", 1.0)))
        return "gone" if gone else "running"

    async def settle(self, want: Any, step: Mapping[str, Any]) -> None:
        await self._wait(self.scene.process.ended, float(want))

    async def stdin(self, want: Any, step: Mapping[str, Any]) -> None:
        if want == "close":
            self.recorder.note("tester", "stdin", "closed", "stdin is closed")
            self.scene.process.close_stdin()
        else:
            self.recorder.note("tester", "stdin", "sent", repr(want))
            self.scene.process.write_stdin(want)

    async def signal(self, want: str, step: Mapping[str, Any]) -> None:
        self.recorder.note("tester", "signal", "SIGNAL", f"SIG{want}")
        self.scene.process.signal(signal.Signals[f"SIG{want}"])

    async def orphan(self, want: Any, step: Mapping[str, Any]) -> None:
        self.recorder.note("tester", "signal", "SIGNAL", "its parent is killed")
        self.scene.process.orphan()

    async def restart(self, want: Any, step: Mapping[str, Any]) -> None:
        await self.scene.restart()

    async def twin(self, want: Any, step: Mapping[str, Any]) -> str:
        return "ready" if await self.scene.twin() else "the second process does not start"

    # --- what the tester provides

    async def cookie(self, want: str, step: Mapping[str, Any]) -> None:
        self.recorder.note("tester", "extorport", "cookie", f"the cookie file is now {want}")
        self.scene.cookie.write(want)

    async def down(self, want: str, step: Mapping[str, Any]) -> None:
        """From now on, a peer refuses connections."""
        peers = {"proxy": self.scene.proxy, "target": self.scene.near}
        peers["extorport"] = self.scene.extended
        peer = peers[want]
        assert peer is not None
        self.recorder.note("tester", want, "down", f"the {want} is down")
        peer.stop_listening()

    async def accept(self, want: Any, step: Mapping[str, Any]) -> str:
        """Wait until the transport has connected to the target, or to the Extended ORPort."""
        on = str(step.get("on", "target"))
        peer = self.scene.extended if on == "extorport" else self.scene.far
        assert peer is not None
        seen = self._accepted.get(on, 0)
        until = asyncio.get_running_loop().time() + self._within(step)
        while len(peer.links) <= seen:
            peer.arrived.clear()
            left = until - asyncio.get_running_loop().time()
            if left <= 0 or not await self._wait(peer.arrived, left):
                break
        if len(peer.links) <= seen:
            return "not-accepted"
        self._accepted[on] = seen + 1
        self.scene.links[on] = peer.links[seen]
        return "accepted"

    # --- connections

    def _link(self, step: Mapping[str, Any]) -> Link:
        return self.scene.links[str(step.get("on", "a"))]

    async def connect(self, want: Any, step: Mapping[str, Any]) -> str:
        name = str(step.get("on", "a"))
        try:
            link = await self.scene.open(
                name, self._within(step), local=step.get("from"), raw=bool(step.get("raw"))
            )
        except LookupError as error:
            return str(error.args[0])
        except OSError as error:
            self.recorder.note("target", "port", "refused", str(error), name=name)
            return "not-opened"
        self.recorder.note("tester", "port", "opened", f"to {link.peer}", name=name)
        self.scene.links[name] = link
        return "opened"

    async def send(self, want: Any, step: Mapping[str, Any]) -> None:
        data = self._octets(want)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._within(step, 60.0)):
                await self._link(step).send(
                    data, int(step.get("pieces", 0)), float(step.get("every", 0.002))
                )

    def _octets(self, value: Any) -> bytes:
        if isinstance(value, str):
            return octets(value)
        return b"".join(
            self._address(piece)
            if isinstance(piece, Mapping) and "address" in piece
            else octets([piece])
            for piece in value
        )

    def _address(self, piece: Mapping[str, str]) -> bytes:
        """The octets of an address that only the tester knows, in the form of a SOCKS request."""
        form = piece["form"]
        six = form == "ipv6" and piece["address"] == "target"
        address = self.scene.address_of("ipv6" if six else piece["address"])
        port = address.port.to_bytes(2, "big")
        if form == "name":
            return b"\x03\x09localhost" + port
        ip = address.ip
        assert ip is not None
        if form == "socks4":
            return port + ip.packed
        return (b"\x04" if form == "ipv6" else b"\x01") + ip.packed + port

    async def receive(self, want: Any, step: Mapping[str, Any]) -> str:
        pattern = want if isinstance(want, str) else " ".join(want)
        return await self._take(step, len(pattern.split()))

    async def _take(self, step: Mapping[str, Any], size: int) -> str:
        link = self._link(step)
        came = await link.until(lambda: len(link.data) >= size, self._within(step))
        short = len(link.data) < size
        found = link.take(size).hex(" ")
        if not short:
            return found
        return f"{found} {link.ended if came else 'timeout'}".strip()

    async def reply(self, want: Any, step: Mapping[str, Any]) -> str:
        link = self._link(step)
        four = step.get("socks") == 4

        def size() -> int:
            data = link.data
            if four:
                return 8
            if len(data) < 5 or data[3] == 1:
                return 10
            return {3: 7 + data[4], 4: 22}.get(data[3], 10)

        came = await link.until(lambda: len(link.data) >= size(), self._within(step, 15.0))
        short = len(link.data) < size()
        found = link.take(size()).hex(" ")
        return f"{found} {link.ended if came else 'timeout'}".strip() if short else found

    async def closed(self, want: Any, step: Mapping[str, Any]) -> str:
        link = self._link(step)
        await link.until(lambda: False, self._within(step))
        found = link.take().hex(" ")[:300]
        return f"{found} {link.ended or 'timeout'}".strip()

    async def quiet(self, want: Any, step: Mapping[str, Any]) -> str:
        link = self._link(step)
        await link.until(lambda: bool(link.data), float(want))
        found = link.take().hex(" ")[:300]
        return f"{found} {link.ended}".strip() or "quiet"

    async def send_datagram(self, want: Any, step: Mapping[str, Any]) -> None:
        socket = await self.scene.socket(str(step.get("on", "a")))
        socket.send(self._octets(want))

    async def receive_datagram(self, want: str, step: Mapping[str, Any]) -> str:
        socket = await self.scene.socket(str(step.get("on", "a")))
        if not socket.datagrams:
            socket.arrived.clear()
            await self._wait(socket.arrived, self._within(step))
        return socket.datagrams.pop(0).hex(" ") if socket.datagrams else "timeout"

    async def eof(self, want: Any, step: Mapping[str, Any]) -> None:
        link = self._link(step)
        self.recorder.note("tester", link.channel, "end", "end of data", name=link.name)
        link.write_eof()

    async def close(self, want: Any, step: Mapping[str, Any]) -> None:
        link = self._link(step)
        self.recorder.note("tester", link.channel, "closed", "closed", name=link.name)
        link.close()

    async def reset(self, want: Any, step: Mapping[str, Any]) -> None:
        link = self._link(step)
        self.recorder.note("tester", link.channel, "reset", "reset", name=link.name)
        link.reset()

    async def dial(self, want: Any, step: Mapping[str, Any]) -> str:
        """Connect, and ask for a target as a host would; on a server, connect by its transport."""
        outcome = await self.connect(True, step)
        stage = self.scene.stage
        asks = stage.role is Role.CLIENT and stage.mode is Mode.SOCKS5
        if outcome != "opened" or not asks:
            return {"opened": "granted", "not-opened": "eof"}.get(outcome, outcome)
        link = self._link(step)
        target = self.scene.address_of(str(step.get("to", "target")))
        self.recorder.note("tester", "port", "asked", f"for {target}", name=link.name)
        return await self._ask(link, target, self._within(step, 15.0))

    async def _ask(self, link: Link, target: Address, within: float) -> str:
        machine = SocksInitiator.for_dialect(self.scene.stage.dialect, target, self.scene.args)
        try:
            await link.drive(machine, within)
        except Refused as error:
            self.recorder.note("target", "port", "refused", str(error), name=link.name)
            return f"refused {error.code:02x}"
        except PtipcError as error:
            self.recorder.note("target", "port", "ended", str(error), name=link.name)
            return link.ended or str(error)
        except TimeoutError:
            return "timeout"
        self.recorder.note("target", "port", "granted", "granted", name=link.name)
        return "granted"

    async def echo(self, want: int, step: Mapping[str, Any]) -> str:
        """Send random octets and have the same ones come back, both at once."""
        link = self._link(step)
        data = os.urandom(want)
        self.recorder.note("tester", link.channel, "sent", f"{want} octets", name=link.name)
        sending = asyncio.create_task(self._pour(link, data))
        await link.until(lambda: len(link.data) >= want, self._within(step, 30.0))
        sending.cancel()
        back = bytes(link.data[:want])
        del link.data[:want]
        self.recorder.note(
            "target", link.channel, "received", f"{len(back)} octets", name=link.name
        )
        if back == data:
            return "echoed"
        if data.startswith(back):
            return f"{len(back)} of {want} octets come back, then {link.ended or 'no more'}"
        at = next(at for at, octet in enumerate(back) if octet != data[at])
        return f"octet {at} of {want} comes back changed"

    async def _pour(self, link: Link, data: bytes) -> None:
        for at in range(0, len(data), 65536):
            link.write(data[at : at + 65536])
            await link.room()


Verb = Callable[[Any, Any, Mapping[str, Any]], Awaitable["str | None"]]

VERBS: Mapping[str, Verb] = {
    name: getattr(Player, name)
    for name in (
        *(
            "ready",
            "hear",
            "exit",
            "running",
            "settle",
            "stdin",
            "signal",
            "orphan",
            "restart",
            "twin",
        ),
        *("cookie", "down", "accept"),
        *("connect", "send", "receive", "reply", "closed", "quiet", "eof", "close", "reset"),
        *("dial", "echo", "send_datagram", "receive_datagram"),
    )
}
"""What a step of a script does, by its verb."""
