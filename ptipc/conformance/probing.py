"""What a program is, before it is judged: whether it starts, and what its transport can do.

Rules are about transport processes; a program that is none, that does not know the transport or
speaks no such edition is not judged at all.  What a transport can do decides which cases apply.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve, frozen

from ptipc.conformance.cases import Case
from ptipc.conformance.checks import OUTCOME
from ptipc.conformance.peers import own_address
from ptipc.conformance.play import play
from ptipc.conformance.stage import Stage
from ptipc.conformance.verdicts import Transcript
from ptipc.core.codecs import Mode
from ptipc.core.dialects import PT1, Role
from ptipc.core.errors import PtipcError
from ptipc.core.messages import StatusVersion, parse_line
from ptipc.core.settings import parameter_for

__all__ = ["CAPABILITIES", "NotStarted", "missing", "probe"]

CAPABILITIES: Mapping[str, str] = {
    "socks5": "its port speaks SOCKS5",
    "socks4": "its port speaks SOCKS4",
    "grants": "it grants a connection without args to the tester's target",
    "dials": "it connects to the target that SOCKS names, and answers only then",
    "relays": "what is sent through it comes back from the target",
    "streams": "what comes to its port are connections, no datagrams",
    "datagrams": "in its mode for datagrams they arrive, and others come back",
    "plain": "its transport leaves the octets as they are",
    "takes-args": "it takes any args",
    "transparent-TCP": "it has the mode transparent-TCP",
    "transparent-UDP": "it has the mode transparent-UDP",
    "STUN": "it has the mode STUN",
    "socks5-proxy": "it takes an upstream proxy of the type socks5",
    "socks4a-proxy": "it takes an upstream proxy of the type socks4a",
    "http-proxy": "it takes an upstream proxy of the type http",
    "several": "more than one transport was named",
    "ipv6": "this machine has IPv6",
    "own-address": "this machine has an address that is not loopback",
    "signals": "the operating system has signals",
}
"""What a case may need, and what that means."""

_WORD = "68 65 6c 6c 6f"

_STUN = "00 01 00 00 21 12 a4 42 01 02 03 04 05 06 07 08 09 0a 0b 0c"
"""A message that goes through in each of the modes for datagrams."""


@frozen
class NotStarted(Exception):
    """The program is not one that can be judged."""

    reason: str
    transcript: Transcript

    def __str__(self) -> str:
        return self.reason


def _case(name: str, role: Role, script: Sequence[Any]) -> Case:
    return Case(
        id=f"probe.{name}",
        title="",
        level="MUST",
        requirements=(),
        contradictions=(),
        dialects=(),
        section="",
        rule="",
        result="valid",
        op=f"process/{role.value}",
        fixture="process/probe",
        content={"input": {}, "script": script},
    )


def _outcomes(transcript: Transcript) -> list[str]:
    return [entry.text for entry in transcript.find("script", event=OUTCOME)]


async def _play(stage: Stage, case: Case) -> Transcript:
    return await play(stage, case, fresh=True)


def _why(transcript: Transcript) -> str:
    said = [entry.text for entry in transcript.find("stdout", "stderr", event="line")]
    ends = [entry.text for entry in transcript.find("exit")]
    words = f"it says {'; '.join(map(repr, said[:4]))}" if said else "it says nothing"
    return f"{words} and ends with {ends[0]}" if ends else f"{words} and goes on"


async def probe(stage: Stage, peer: Sequence[str] | None) -> StatusVersion | None:
    """Find out whether the program starts, and set the stage's capabilities and peer.

    Returns what the program says that it is, if it does.  Raises NotStarted.
    """
    stage.capabilities = ()
    stage.peer = None
    start = await _start(stage)
    if not _methods(start, stage) and peer is not None and stage.mode is not Mode.SOCKS5:
        stage.peer = peer  # without SOCKS, it is told the args of its server when it is started
        start = await _start(stage)
    methods = _methods(start, stage)
    if not methods:
        raise NotStarted(
            f"it does not provide the transport {stage.transports[0]!r}: {_why(start)}", start
        )
    found = _environment()
    if not stage.mode.datagrams:
        found.add("streams")
    if len(stage.transports) > 1:
        found.add("several")
    found |= {words[2] for words in methods if words[0] == "CMETHOD" and len(words) > 3}
    if stage.role is Role.CLIENT:
        types = ("socks5", "socks4a", "http")
        taken = await asyncio.gather(*(_takes_proxy(stage, type) for type in types))
        found.update(f"{type}-proxy" for type, taking in zip(types, taken, strict=True) if taking)
    if parameter_for("mode", stage.dialect, stage.role, "flags"):
        modes = [mode.value for mode in Mode if mode is not Mode.SOCKS5]
        had = await asyncio.gather(*(_has_mode(stage, mode) for mode in modes))
        found.update(mode for mode, having in zip(modes, had, strict=True) if having)
    stage.capabilities = tuple(found)
    for candidate in (None, peer):
        if candidate is None or not found & {"relays", "datagrams"}:
            stage.peer = candidate
            found |= await (_client(stage) if stage.role is Role.CLIENT else _server(stage))
    if not found & {"relays", "datagrams"}:
        stage.peer = None
    elif stage.peer is None:
        found.add("plain")
    stage.capabilities = tuple(sorted(found | stage.required))
    stage.lacking = tuple(sorted(stage.required - found))
    return _version(start)


async def _start(stage: Stage) -> Transcript:
    try:
        start = await _play(stage, _case("start", stage.role, [{"ready": True}, {"running": True}]))
    except OSError as error:
        raise NotStarted(f"it cannot be started: {error}", Transcript()) from None
    except PtipcError as error:
        raise NotStarted(str(error), Transcript()) from None
    if _outcomes(start) != ["ready", "running"]:
        raise NotStarted(_why(start), start)
    return start


def _methods(start: Transcript, stage: Stage) -> list[list[str]]:
    """The lines, in words, that say that the transport is up."""
    said = [entry.text.split(" ") for entry in start.find("stdout", event="line")]
    return [
        words
        for words in said
        if words[0] in ("CMETHOD", "SMETHOD") and words[1:2] == [stage.transports[0]]
    ]


def _version(transcript: Transcript) -> StatusVersion | None:
    for entry in transcript.find("stdout", "stderr", event="line"):
        with contextlib.suppress(PtipcError):
            message = parse_line(entry.text, PT1)
            if isinstance(message, StatusVersion):
                return message
    return None


def _environment() -> set[str]:
    found = {"signals"} if hasattr(socket, "AF_UNIX") else set()
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        found.add("ipv6")
    except OSError:
        pass
    if own_address() is not None:
        found.add("own-address")
    return found


async def _client(stage: Stage) -> set[str]:
    """What a client's connections can do, in the way in which the stage is set."""
    if stage.mode.datagrams:
        return await _datagrams(stage)
    found = set()
    script = [
        {"ready": True},
        {"dial": "granted", "within": 5},
        {"accept": True, "within": 2},
        {"echo": 1000, "within": 3},
    ]
    try:
        outcomes = _outcomes(await play(stage, _case("dial", stage.role, script)))
        if "echoed" in outcomes and not await _disguises(stage, {"dial": "granted", "within": 5}):
            found.add("relays")
        if "socks5" not in stage.capabilities:
            return found
        if outcomes[1:2] == ["granted"] and stage.peer is None and not stage.args:
            found.add("grants")
        refused = [{"ready": True}, {"dial": "any", "to": "closed", "within": 5}]
        transcript = await _play(stage, _case("closed", stage.role, refused))
        if _outcomes(transcript)[-1].startswith("refused") and "relays" in found:
            found.add("dials")
        if stage.dialect.json_auth is None and await _takes(stage):
            found.add("takes-args")
    except (PtipcError, OSError):
        return found
    return found


async def _takes_proxy(stage: Stage, type: str) -> bool:
    case = _case("proxy", stage.role, [{"ready": True}])
    input = {
        "settings": {"proxy": {"type": type, "address": "{proxy}"}},
        "helpers": {"proxy": {"type": type}},
    }
    transcript = await _play(stage, evolve(case, content={**case.content, "input": input}))
    return any(entry.text == "PROXY DONE" for entry in transcript.find("stdout", event="line"))


async def _has_mode(stage: Stage, mode: str) -> bool:
    case = _case("mode", stage.role, [{"ready": True}])
    settings = {"mode": mode, "target": "{udp-target}"}
    if stage.role is Role.CLIENT:
        settings = {"mode": mode, "reach": "{target}"}
    content = {**case.content, "input": {"settings": settings}}
    transcript = await _play(stage, evolve(case, content=content))
    name = stage.transports[0]
    start = f"CMETHOD {name} {mode} " if stage.role is Role.CLIENT else f"SMETHOD {name} "
    return any(entry.text.startswith(start) for entry in transcript.find("stdout", event="line"))


async def _takes(stage: Stage) -> bool:
    script = [
        {"ready": True},
        {"connect": True},
        {"send": "05 01 02"},
        {"receive": "05 02", "within": 3},
        {"send": "01 03 6b 3d 76 01 00"},
        {"receive": "01 00", "within": 3},
        {"send": ["05 01 00", {"address": "target", "form": "ipv4"}]},
        {"reply": "any", "within": 5},
    ]
    outcomes = _outcomes(await play(stage, _case("args", stage.role, script)))
    return outcomes[-1].startswith("05 00")


async def _server(stage: Stage) -> set[str]:
    """Whether traffic goes through a server, in the way in which the stage is set."""
    if stage.mode.datagrams:
        return await _datagrams(stage)
    connect = {"connect": True, "within": 8}
    script = [{"ready": True}, connect, {"echo": 1000, "within": 3}]
    try:
        outcomes = _outcomes(await _play(stage, _case("connect", stage.role, script)))
        relays = "echoed" in outcomes and not await _disguises(stage, connect)
    except (PtipcError, OSError):
        return set()
    return {"relays"} if relays else set()


async def _disguises(stage: Stage, connect: Mapping[str, Any]) -> bool:
    """Whether other octets arrive than were sent, though an echo of them comes back as they were.

    So it is where a change is its own opposite, as with a key stream for both directions.
    """
    script = [
        {"ready": True},
        connect,
        {"accept": True, "within": 2},
        {"send": _WORD},
        {"receive": _WORD, "on": "target", "within": 3},
    ]
    case = _case("word", stage.role, script)
    content = {**case.content, "input": {"helpers": {"target": "manual"}}}
    arrived = _outcomes(await _play(stage, evolve(case, content=content)))[-1]
    return len(arrived) == len(_WORD) and arrived != _WORD


async def _datagrams(stage: Stage) -> set[str]:
    """Whether a datagram gets through, and another one back; that takes both ends."""
    if stage.peer is None:
        return set()
    script = [
        {"ready": True},
        {"send_datagram": _STUN},
        {"settle": 0.7},  # what comes before there is a connection may be lost (PT 2.0, 3.3.5)
        {"send_datagram": _STUN},
        {"receive_datagram": _STUN, "on": "target", "within": 5},
        {"send_datagram": _STUN, "on": "target"},
        {"receive_datagram": _STUN, "within": 5},
    ]
    try:
        outcomes = _outcomes(await _play(stage, _case("datagrams", stage.role, script)))
    except (PtipcError, OSError, LookupError):
        return set()
    return {"datagrams"} if outcomes[1:] == [_STUN, _STUN] else set()


def missing(case: Case, stage: Stage) -> str | None:
    """Why a case does not apply to the program; None: it does."""
    for need in case.content.get("needs", ()):
        if need not in stage.capabilities:
            return f"needs: {CAPABILITIES[need]}"
    return None
