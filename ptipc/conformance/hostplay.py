"""Cases about hosts are played: what happens to the host, and what it does, step by step."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from ptipc.conformance.cases import Case
from ptipc.conformance.extended import answer_of, cookie_facts, prove, types_of
from ptipc.conformance.hostchecks import host_step_problem, settings_of
from ptipc.conformance.hosts import HostScene, HostStage
from ptipc.conformance.linechecks import Problem
from ptipc.conformance.links import connect
from ptipc.conformance.play import VERBS, Player, Verb
from ptipc.conformance.recording import Recorder
from ptipc.conformance.verdicts import END, Entry, Transcript
from ptipc.core.codecs import ADDRESS
from ptipc.core.dialects import Role
from ptipc.core.errors import PtipcError
from ptipc.core.socks import SocksResponder

__all__ = ["HOST_VERBS", "NotLaunched", "play_host", "try_host"]

LAST_CHANCE = 3.0
"""How many seconds a host has to start a transport process that has ended once more."""


class HostPlayer(Player):
    """Plays the script of a case about a host."""

    scene: HostScene  # type: ignore[assignment]

    def verbs(self) -> Mapping[str, Verb]:
        """What a step can do, by its verb."""
        return HOST_VERBS

    def problem(self, step: Mapping[str, Any], outcome: str) -> Problem | None:
        """What is wrong with how a step ended."""
        return host_step_problem(step, outcome)

    async def started(self, want: Any, step: Mapping[str, Any]) -> str:
        """Wait until the host has started the transport process, or so many, one after another."""
        count = 1 if want is True else int(want)

        def enough() -> bool:
            return len(self.scene.reports) >= count

        await self._until(enough, self._within(step))
        if enough():
            return "started"
        over = self.scene.process.ended.is_set()
        return "over" if over else f"{len(self.scene.reports)} starts"

    async def _until(self, enough: Callable[[], bool], seconds: float) -> None:
        """Wait for something that is reported, or for the end of the host."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while not enough() and (left := until - loop.time()) > 0:
            self.scene.changed.clear()
            ended = self.scene.process.ended
            await self._wait(self.scene.changed, min(left, 0.1))
            if ended.is_set() and not enough():
                # What the process still had to report is on its way.
                await asyncio.sleep(0.1)
                return

    async def played(self, want: Any, step: Mapping[str, Any]) -> str:
        """Wait until the last transport process has played its script."""
        report = self.scene.reports[-1]
        await self._until(
            lambda: report.played.is_set() or report.gone.is_set(), self._within(step, 20.0)
        )
        if report.played.is_set():
            return "played"
        return "gone" if report.gone.is_set() else "timeout"

    async def used(self, want: bool, step: Mapping[str, Any]) -> str:
        """Wait until the host connects to the port of the transport, or see that it does not."""
        port = self.scene.port
        seen = self._accepted.get("port", 0)
        seconds = self._within(step, 15.0) if want else float(step.get("for", 2.0))
        await self._until_link(seen, seconds)
        if len(port.links) > seen:
            self._accepted["port"] = seen + 1
            self.scene.links[str(step.get("on", "a"))] = port.links[seen]
            return "used"
        if self.scene.process.ended.is_set():
            return "over"
        reports = self.scene.reports
        gone = bool(reports) and all(report.gone.is_set() for report in reports)
        return "gone" if gone else "unused"

    async def _until_link(self, seen: int, seconds: float) -> None:
        """Wait for another connection; not for long once no transport process is left."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        port, reports = self.scene.port, self.scene.reports
        while len(port.links) <= seen and (left := until - loop.time()) > 0:
            port.arrived.clear()
            await self._wait(port.arrived, min(left, 0.2))
            if self.scene.process.ended.is_set():
                return
            if left > LAST_CHANCE and all(report.gone.is_set() for report in reports):
                until = loop.time() + LAST_CHANCE

    async def direct(self, want: bool, step: Mapping[str, Any]) -> str:
        """See that the host does not connect to the target by itself."""
        target = self.scene.target
        await self._until(lambda: bool(target.links), float(step["for"]))
        return "direct" if target.links else "none"

    async def settle(self, want: Any, step: Mapping[str, Any]) -> None:
        """Let some time pass, also when the host has ended: its transport may still run."""
        await asyncio.sleep(float(want))

    async def starts(self, want: int, step: Mapping[str, Any]) -> str:
        """Count how often the transport process is started meanwhile, from the first on."""
        await asyncio.sleep(float(step["for"]))
        return str(len(self.scene.reports))

    async def alive(self, want: Any, step: Mapping[str, Any]) -> str:
        """See that the transport process is left alone for so many seconds."""
        report = self.scene.reports[-1]
        return "gone" if await self._wait(report.gone, float(want)) else "alive"

    async def gone(self, want: Any, step: Mapping[str, Any]) -> str:
        """Wait until no transport process is left."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._within(step)
        for report in self.scene.reports:
            if not await self._wait(report.gone, max(until - loop.time(), 0.05)):
                return "alive"
        return "gone"

    async def open(self, want: float, step: Mapping[str, Any]) -> str:
        """See that the host does not close the connection for so many seconds."""
        link = self._link(step)
        await link.until(lambda: False, float(want))
        link.take()
        return link.ended or "open"

    async def greeting(self, want: Any, step: Mapping[str, Any]) -> str:
        """Read a SOCKS5 greeting, however many methods it offers."""
        link = self._link(step)

        def whole() -> bool:
            return len(link.data) >= 2 and len(link.data) >= 2 + link.data[1]

        await link.until(whole, self._within(step))
        size = 2 + link.data[1] if len(link.data) >= 2 else 2
        found = link.take(size).hex(" ")
        return found if found else link.ended

    async def asks(self, want: Any, step: Mapping[str, Any]) -> str:
        """Be the SOCKS server until it knows what is asked for; grant it if ``grant``."""
        link = self._link(step)
        machine = SocksResponder.for_dialect(self.scene.stage.dialect)
        try:
            await link.drive(machine, self._within(step))
        except PtipcError as error:
            return str(error)
        except TimeoutError:
            return "nothing more comes"
        found = {
            "target": str(machine.target),
            "args": [list(pair) for pair in machine.args.pairs],
            "version": machine.version,
        }
        self.recorder.note("target", "port", "asked", json.dumps(found), name=link.name)
        if step.get("grant"):
            machine.grant()
            link.write(machine.data_to_send())
            self.recorder.note("tester", "port", "granted", "granted", name=link.name)
        return json.dumps(found)

    # --- its Extended ORPort

    def _told(self, setting: str) -> str | None:
        """A setting of the last transport process; None: nothing is said of it."""
        launch = self.scene.reports[-1].launch
        said = settings_of(launch, self.scene.stage.dialect).get(setting)
        return None if said is None else str(said)

    async def call(self, want: Any, step: Mapping[str, Any]) -> str:
        """Connect to the host's Extended ORPort."""
        said = self._told("extended_port")
        if said is None:
            return "not said"
        name = str(step.get("on", "a"))
        try:
            link = await connect(
                self.recorder, ADDRESS.parse(said), "extorport", name, within=self._within(step)
            )
        except OSError as error:
            self.recorder.note("target", "extorport", "refused", str(error), name=name)
            return "not-opened"
        self.recorder.note("tester", "extorport", "opened", f"to {link.peer}", name=name)
        self.scene.links[name] = link
        return "opened"

    async def types(self, want: Any, step: Mapping[str, Any]) -> str:
        """Read the authentication types."""
        return await types_of(self._link(step), self._within(step))

    async def prove(self, want: Any, step: Mapping[str, Any]) -> str:
        """Authenticate; with another cookie if the host is to refuse."""
        cookie = self._told("auth_cookie")
        if cookie is None:
            return "no cookie is said"
        return await prove(
            self._link(step), Path(cookie), wrong=want == "refused", within=self._within(step)
        )

    async def answer(self, want: Any, step: Mapping[str, Any]) -> str:
        """Read the host's decision about a client."""
        return await answer_of(self._link(step), self._within(step))

    async def cookie_file(self, want: str, step: Mapping[str, Any]) -> str:
        """Look at the cookie file, and write down which one it is."""
        said = self._told("auth_cookie")
        if said is None:
            return "no cookie is said"
        try:
            facts = cookie_facts(Path(said))
        except OSError as error:
            return str(error)
        self.recorder.note("target", "extorport", "cookie", str(facts["digest"]))
        return json.dumps(facts)

    async def again(self, want: Any, step: Mapping[str, Any]) -> str:
        """End the host, and start it once more."""
        await self.signal("TERM", step)
        if not await self._wait(self.scene.process.ended, self._within(step, 20.0)):
            return "running"
        await self.scene.start_again()
        return "ended"


HOST_VERBS: Mapping[str, Verb] = {
    **{
        name: VERBS[name]
        for name in (
            *("exit", "running", "signal"),
            *("send", "receive", "closed", "quiet", "eof", "close", "reset"),
        )
    },
    **{
        name: getattr(HostPlayer, name)
        for name in (
            *("started", "played", "used", "starts", "alive", "gone"),
            *("open", "greeting", "asks", "settle", "direct", "again"),
            *("call", "types", "prove", "answer", "cookie_file"),
        )
    },
}
"""What a step of a script about a host does, by its verb."""


async def play_host(stage: HostStage, case: Case, *, fresh: bool = False) -> Transcript:
    """Play a case about a host and return what happened.

    Raises OSError if the host cannot be started, PtipcError or LookupError if it is our own fault
    that the case cannot be played.
    """
    recorder = Recorder()
    scene = HostScene(stage, recorder, case.content["input"])
    try:
        await scene.set_up()
        await scene.start()
        player = HostPlayer(scene, case)  # type: ignore[arg-type]
        if not await player.run():
            # Its own end may be why, and is seen a moment later.
            await player.running(True, {"for": 0.5})
        recorder.note("tester", "script", END)
    finally:
        await scene.strike()
    return recorder.transcript()


@frozen
class NotLaunched(Exception):
    """The host is not one that can be judged: it starts no transport process."""

    reason: str
    transcript: Transcript


async def try_host(stage: HostStage) -> None:
    """See that the host starts a transport process at all.  Raises NotLaunched."""
    recorder = Recorder()
    lines = ["VERSION {version}", "CMETHOD {name} socks5 {port}", "CMETHODS DONE"]
    if stage.role is Role.SERVER:
        lines = ["VERSION {version}", "SMETHOD {name} 127.0.0.1:9", "SMETHODS DONE"]
    scene = HostScene(stage, recorder, {"role": stage.role.value, "pt": [{"say": lines}]})
    try:
        await scene.set_up()
        await scene.start()
        player = HostPlayer(scene, _TRIAL)  # type: ignore[arg-type]
        outcome = await player.started(True, {})
        if outcome != "started":
            said = [*scene.process.heard[-3:], *(entry.text for entry in _ends(recorder))]
            raise NotLaunched("; ".join(said) or "it does nothing", recorder.transcript())
    except OSError as error:
        raise NotLaunched(f"it cannot be started: {error}", recorder.transcript()) from None
    finally:
        await scene.strike()


def _ends(recorder: Recorder) -> Iterator[Entry]:
    return recorder.transcript().find("exit")


_TRIAL = Case(
    id="host.trial.start",
    title="",
    level="MUST",
    requirements=(),
    contradictions=(),
    dialects=(),
    section="",
    rule="",
    result="valid",
    op="process/host",
    fixture="process/host",
    content={"script": []},
)
