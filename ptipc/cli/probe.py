"""``ptipc probe``: do bridges work?  Each is connected to, through its transport."""

from __future__ import annotations

import argparse
import asyncio
import enum
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from attrs import define, field, frozen

from ptipc.aio.host import TransportProcess, launch_plan
from ptipc.aio.network import SystemNetwork
from ptipc.aio.streams import SocketStream
from ptipc.cli.carrying import TROUBLE, reason
from ptipc.cli.commandline import (
    add_process_arguments,
    positive,
    process_settings,
    program,
    refusing,
    seconds,
)
from ptipc.cli.interrupts import Interrupts
from ptipc.cli.narration import wrapped
from ptipc.cli.parsing import (
    DONE,
    FAILED,
    INTERRUPTED,
    NOT_STARTED,
    UsageError,
    takes_program,
)
from ptipc.cli.screen import Screen, Tone, open_screen
from ptipc.core.bridgelines import BridgeLine
from ptipc.core.codecs import visible
from ptipc.core.dialects import Role
from ptipc.core.launch import LaunchError, Plan, ProcessEnded, plan
from ptipc.core.socks import ReplyCode, RequestRefused

__all__ = ["add_arguments", "main"]

HANDSHAKES = frozenset({"obfs2", "obfs3", "obfs4", "scramblesuit", "webtunnel"})
"""Transports that say yes only after a handshake with the bridge."""
DIRECT = HANDSHAKES - {"webtunnel"}
"""Those of them that connect to the address of the bridge line, by TCP."""
EARLY = frozenset({"meek", "meek_lite", "snowflake"})
"""Transports that say yes before they have connected to anything."""


KNOCK = 5.0
"""How many seconds a bridge has to answer when we only want to know whether it is there."""


class Verdict(enum.Enum):
    """What is known about a bridge."""

    WORKS = "works"
    GRANTED = "granted"
    """The transport says that it is connected, which need not be so."""
    FAILS = "fails"
    UNTRIED = "untried"
    """There was no process to try it through."""


_TONES: dict[Verdict, Tone] = {
    Verdict.WORKS: "good",
    Verdict.GRANTED: "plain",
    Verdict.FAILS: "bad",
    Verdict.UNTRIED: "bad",
}


@frozen
class Result:
    """What came of one bridge."""

    bridge: BridgeLine
    verdict: Verdict
    seconds: float
    why: str
    """How we know, or why not."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    takes_program(
        parser,
        "BRIDGE-LINE ... [options] [-- PROGRAM ...]",
        "the client of the transport; if not given, the usual one of each",
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = """\
example:
  ptipc probe 'obfs4 192.0.2.7:443 cert=... iat-mode=0' -- obfs4proxy

verdicts:
  works    the bridge has answered, or what is behind it
  granted  the transport says that it is connected, and nothing proves it
  fails    it says that it is not, or nothing within the time
  untried  its process did not start, or has ended

Whose bridge it is, which a fingerprint in the line would say, is not asked.

exit status: 0 none fails; 1 some do, or with --strict are only granted;
2 a wrong command line; 3 some are untried"""
    parser.add_argument(
        "lines", nargs="*", metavar="BRIDGE-LINE", help="NAME ADDRESS:PORT [KEY=VALUE ...]"
    )
    parser.add_argument(
        "-f",
        "--file",
        action="append",
        default=[],
        metavar="FILE",
        help="take the lines of a file; '-' is standard input",
    )
    parser.add_argument(
        "--tls",
        action="store_true",
        help="begin to speak TLS with what is behind the bridge, as tor would: its answer is the "
        "proof that some transports do not give",
    )
    parser.add_argument(
        "--strict", action="store_true", help="a bridge that is only granted counts as failed"
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=30.0,
        metavar="SECONDS",
        help="how long a bridge may take to answer (default: 30)",
    )
    parser.add_argument(
        "-j",
        "--jobs",
        type=positive,
        default=10,
        metavar="N",
        help="how many to try at a time (default: 10)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, a line for each bridge")
    add_process_arguments(
        parser.add_argument_group("the process"), client=True, state="one that is removed"
    )


def main(options: argparse.Namespace) -> int:
    """Probe, and return the exit status."""
    bridges = _bridges(options)
    plans: dict[str, Plan] = {}
    for name in dict.fromkeys(bridge.transport or "" for bridge in bridges):
        with refusing():
            settings = process_settings(options, [name])
            settings["client"] = [name]
            plans[name] = plan(program(options.program, name, Role.CLIENT), **settings)
            plans[name].invocation()
    # With JSON on standard output a person may still watch.
    with open_screen(sys.stderr if options.json else sys.stdout) as screen:
        probe = _Probe(
            bridges=bridges,
            plans=plans,
            timeout=options.timeout,
            proxied=options.proxy is not None,
            tls=options.tls,
            jobs=options.jobs,
            show=_as_json if options.json else _Table(screen).show,
            screen=screen,
        )
        try:
            results = asyncio.run(probe.run())
        except asyncio.CancelledError:
            return INTERRUPTED
        if not options.json:
            screen.status("")
            screen.line(_summary(results))
    return _status(results, options.strict)


def _status(results: Sequence[Result], strict: bool) -> int:
    verdicts = {result.verdict for result in results}
    if Verdict.UNTRIED in verdicts:
        return NOT_STARTED
    bad = {Verdict.FAILS, Verdict.GRANTED} if strict else {Verdict.FAILS}
    return FAILED if verdicts & bad else DONE


# --- which ----------------------------------------------------------------------------------------


def _bridges(options: argparse.Namespace) -> list[BridgeLine]:
    """The bridges.  Raises UsageError, which names every line that is none."""
    words: list[str] = options.lines
    if len(words) > 1 and not any(" " in word for word in words):
        words = [" ".join(words)]  # one line that was not quoted
    bridges = []
    wrong = []
    given = [(f"line {number}: ", word) for number, word in enumerate(words, 1)]
    for where, text in [*given, *_from_files(options.file)]:
        try:
            bridge = BridgeLine.parse(text)
        except ValueError as error:
            wrong.append(f"{where}{error}")
            continue
        if bridge.transport is None:
            wrong.append(f"{where}{bridge.address} names no transport, so there is none to probe")
        bridges.append(bridge)
    if wrong:
        raise UsageError("\n  ".join(["not a bridge line:", *wrong]))
    if not bridges:
        raise UsageError("which bridges? Give their lines, or a file of them with -f")
    return bridges


def _from_files(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each line of some files, behind where it stands."""
    for name in names:
        try:
            data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        except OSError as error:
            raise UsageError(f"cannot read {name}: {error.strerror}") from None
        for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
            if line.strip() and not line.lstrip().startswith("#"):
                yield f"{name}, line {number}: ", line


# --- how ------------------------------------------------------------------------------------------


@define(kw_only=True)
class _Probe:
    """All the bridges, through a process for each transport."""

    bridges: Sequence[BridgeLine]
    plans: dict[str, Plan]
    timeout: float
    proxied: bool
    """Whether there is an upstream proxy, past which nothing may go."""
    tls: bool
    jobs: int
    show: Callable[[int, Result], object]
    screen: Screen
    _results: dict[int, Result] = field(factory=dict, init=False)
    _turns: asyncio.Semaphore = field(init=False)

    async def run(self) -> list[Result]:
        """Probe them all."""
        self._turns = asyncio.Semaphore(self.jobs)
        self._show_status()
        with Interrupts():
            async with asyncio.TaskGroup() as group:
                for name, wanted in self.plans.items():
                    numbers = [
                        number for number, each in enumerate(self.bridges) if each.transport == name
                    ]
                    group.create_task(self._through(wanted, numbers))
        return [self._results[number] for number in range(len(self.bridges))]

    async def _through(self, wanted: Plan, numbers: Sequence[int]) -> None:
        try:
            async with launch_plan(wanted) as process, asyncio.TaskGroup() as group:
                for number in numbers:
                    group.create_task(self._one(process, number))
        except LaunchError as error:
            for number in numbers:
                text = f"{wanted.name} did not start: {error.reason}"
                if error.errno is not None:  # which says so itself
                    text = str(error)
                self._settle(number, Verdict.UNTRIED, 0.0, text)

    async def _one(self, process: TransportProcess, number: int) -> None:
        bridge = self.bridges[number]
        async with self._turns:
            started = time.monotonic()
            try:
                async with asyncio.timeout(self.timeout):
                    verdict, why = await self._connect(process, bridge)
            except ProcessEnded as error:
                verdict, why = Verdict.UNTRIED, str(error)
            except TimeoutError as error:
                verdict, why = Verdict.FAILS, self._without_answer(bridge, error)
            except TROUBLE as error:
                verdict, why = Verdict.FAILS, await self._explained(bridge, error)
            self._settle(number, verdict, time.monotonic() - started, why)

    async def _connect(self, process: TransportProcess, bridge: BridgeLine) -> tuple[Verdict, str]:
        stream = await process.dial(bridge, timeout=None)
        try:
            if self.tls:
                return await _speak_tls(stream)
        finally:
            await stream.aclose()
        if bridge.transport in HANDSHAKES:
            return Verdict.WORKS, "the handshake of the transport"
        if bridge.transport in EARLY:
            return Verdict.GRANTED, f"{bridge.transport} says yes before it is connected; try --tls"
        return (
            Verdict.GRANTED,
            f"whether {bridge.transport} says yes only to what answers is not known; try --tls",
        )

    def _without_answer(self, bridge: BridgeLine, error: TimeoutError) -> str:
        if getattr(error, "code", None) is not None:  # the transport has said so
            return str(error)
        also = ", or what it asks for is wrong in the line" if bridge.args else ""
        return f"no answer within {self.timeout:g} seconds: the bridge is silent{also}"

    async def _explained(self, bridge: BridgeLine, error: Exception) -> str:
        said = str(error) or reason(error)
        said = said.removeprefix(f"{bridge.transport} cannot connect to {bridge.address}: ")
        unsaid = isinstance(error, RequestRefused) and error.code == ReplyCode.GENERAL_FAILURE
        if not unsaid or bridge.transport not in DIRECT or self.proxied:
            return said
        # obfs4proxy says no more, whatever it is; so we look whether there is anybody.
        try:
            stream = await SystemNetwork(timeout=KNOCK).dial(bridge.address)
        except OSError as why:
            return f"{said}; nobody is there: {reason(why) if why.errno else 'no answer'}"
        await stream.aclose()
        return f"{said}; somebody is there, so look at the args, if it is {bridge.transport} at all"

    def _settle(self, number: int, verdict: Verdict, seconds: float, why: str) -> None:
        result = Result(self.bridges[number], verdict, seconds, visible(why, "utf-8"))
        self._results[number] = result
        self.show(number, result)
        self._show_status()

    def _show_status(self) -> None:
        done, all_of_them = len(self._results), len(self.bridges)
        self.screen.status(f"{done} of {all_of_them}" if done < all_of_them else "")


async def _speak_tls(stream: SocketStream) -> tuple[Verdict, str]:
    """Begin a handshake with what is behind a bridge; any answer is a proof."""
    import ssl  # slow to import, and few want it

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # who it is, is tor's business
    context.verify_mode = ssl.CERT_NONE
    received, to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(received, to_send)
    answered = False
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            return Verdict.WORKS, "what is behind it answers, though not in TLS"
        else:
            return Verdict.WORKS, "what is behind it answers in TLS"
        await stream.send(to_send.read())
        data = await stream.receive()
        if not data:
            what = "in the middle of TLS" if answered else "without an answer to TLS"
            return Verdict.FAILS, f"the connection was closed {what}"
        answered = True
        received.write(data)


# --- what is shown --------------------------------------------------------------------------------


@define
class _Table:
    """The results in the order of their lines, each as soon as those before it are there."""

    _screen: Screen
    _waiting: dict[int, Result] = field(factory=dict, init=False)
    _next: int = field(default=0, init=False)

    def show(self, number: int, result: Result) -> None:
        """Show a result, now or later."""
        self._waiting[number] = result
        while (found := self._waiting.pop(self._next, None)) is not None:
            self._next += 1
            took = "" if found.verdict is Verdict.UNTRIED else f"{found.seconds:.2f} s"
            place = f"{found.bridge.transport} {found.bridge.address}"
            tone = _TONES[found.verdict]
            self._screen.line(f"{found.verdict.value:<8} {took:>8}  {place}", tone)
            for line in wrapped(found.why, " " * 19):
                self._screen.line(line, "faint")


def _as_json(number: int, result: Result) -> None:
    bridge = result.bridge
    found = {
        "number": number + 1,
        "transport": bridge.transport,
        "address": str(bridge.address),
        "fingerprint": bridge.fingerprint,
        "verdict": result.verdict.value,
        "seconds": round(result.seconds, 3),
        "why": result.why,
    }
    print(json.dumps(found), flush=True)


def _summary(results: Sequence[Result]) -> str:
    count = len(results)
    parts = [
        f"{number} {verdict.value}"
        for verdict in Verdict
        if (number := sum(result.verdict is verdict for result in results))
    ]
    return f"{count} bridge{'' if count == 1 else 's'}: {', '.join(parts)}"
