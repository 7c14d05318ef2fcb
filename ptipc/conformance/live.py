"""Exchanges of bytes (``wire``), played live at the SOCKS port of a client.

What the peer sends in the fixture, the tester sends; what the machine sends, the program has to
answer.  A target that the tester cannot provide (192.0.2.7) is replaced by one that it can.  Some
cases cannot be played live, and ``reason_against`` says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve

from ptipc.conformance.cases import Case, octets
from ptipc.core.codecs import TARGET, Address

__all__ = ["live_cases", "reason_against"]

_SPLIT = 48
"""Up to how many octets a case is played octet by octet as well."""
_REFUSED = 5
"""The one reason to refuse that a tester can bring about with certainty."""


def reason_against(case: Case) -> str | None:
    """Why an exchange cannot be played live at a client's port; None: it can."""
    if case.op != "socks/responder":
        return "not an exchange at the port of a client"
    if case.content["input"]:
        return "the settings of the machine are not ours to make"
    for step in case.content["script"]:
        decision = step.get("decide", {})
        if decision.get("grant") is not None:
            return "the bound address is the program's own business"
        if decision.get("refuse", _REFUSED) != _REFUSED:
            return "this reason to refuse cannot be brought about"
    if case.id.endswith("timeout.decision"):
        return "a target that never answers cannot be provided without delay"
    return None


def live_cases(cases: Sequence[Case]) -> list[Case]:
    """Every exchange that can be played live, whole, and the short good ones octet by octet."""
    found = []
    for case in cases:
        if reason_against(case) is not None:
            continue
        found.append(_live(case))
        sent = sum(
            len(octets(step["receive"])) for step in case.content["script"] if "receive" in step
        )
        if case.result == "valid" and case.level == "MUST" and sent <= _SPLIT:
            found.append(_live(case, pieces=1))
    return found


def _live(case: Case, pieces: int = 0) -> Case:
    script: list[dict[str, Any]] = [{"ready": True}, {"connect": True}]
    steps: Sequence[Mapping[str, Any]] = case.content["script"]
    decisions = [step["decide"] for step in steps if "decide" in step]
    decision: Mapping[str, Any] = decisions[0] if decisions else {}
    target = case.content["output"].get("target")
    version = case.content["output"].get("version", 5)
    last = max((at for at, step in enumerate(steps) if "receive" in step), default=-1)
    ours = False
    for at, step in enumerate(steps):
        if "receive" in step:
            value = step["receive"]
            if at == last and target is not None:
                value, ours = _to_us(octets(value), target, version, "refuse" in decision)
            script.append({"send": value, **({"pieces": pieces} if pieces else {})})
        elif "send" in step:
            script.append(_answer(octets(step["send"]), decision, ours, steps[at + 1 :]))
        elif "eof" in step:
            script.append({"eof": True})
        elif "timeout" in step:
            script.append({"settle": 0.1})
    if case.result == "invalid" or "refuse" in decision:
        end: dict[str, Any] = {"closed": True}
        if any("timeout" in step for step in steps):
            end["within"] = 40
        if any("eof" in step or "timeout" in step for step in steps):
            end["goodbye"] = True  # no document says that it is to end without a word
        script.append(end)
    content = {
        **case.content,
        "op": "process/client",
        "input": {},
        "script": script,
        "needs": _needs(case, script),
        "breaks": _breaks(case),
    }
    content.pop("output", None)
    suffix, title = (".split", ", octet by octet") if pieces else ("", "")
    return evolve(
        case,
        id=case.id + suffix,
        title=case.title + title,
        # Whoever is stricter is right by the letter.
        level="INTEROP" if case.result == "acceptable" else case.level,
        op="process/client",
        content=content,
    )


def _to_us(data: bytes, target: str, version: int, refuse: bool) -> tuple[Any, bool]:
    """A request with its target replaced by ours, if it is one that we can stand in for."""
    address = TARGET.parse(target) if target.isascii() else Address("", 0)
    forms = {
        "192.0.2.7:443": "ipv4",
        "127.0.0.1:1": "ipv4",
        "[2001:db8::1]:443": "ipv6",
        "example.com:443": "name",
    }
    form = forms.get(target)
    if form is None or (version == 4 and form != "ipv4"):
        return data.hex(" "), False
    if version == 4:
        assert address.ip is not None
        old, form = address.port.to_bytes(2, "big") + address.ip.packed, "socks4"
    elif form == "name":
        old = bytes((3, len(address.host))) + address.host.encode()
        old += address.port.to_bytes(2, "big")
    else:
        assert address.ip is not None
        old = bytes((1 if form == "ipv4" else 4,)) + address.ip.packed
        old += address.port.to_bytes(2, "big")
    before, found, behind = data.rpartition(old)
    if not found:
        return data.hex(" "), False
    where = {"address": "closed" if refuse else "target", "form": form}
    pieces: list[Any] = [before.hex(" "), where]
    return [piece for piece in (*pieces, behind.hex(" ")) if piece], True


def _answer(
    data: bytes, decision: Mapping[str, Any], ours: bool, rest: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """What has to be answered, where the fixture has these octets."""
    socks4 = data[:1] == b"\0"
    if len(data) not in (8, 10) or (data[:1] != b"\5" and not socks4):
        if data == b"\1\1":  # RFC 1929: any status but 0 refuses
            return {"receive": "01 ..", "not": "01 00"}
        return {"receive": data.hex(" ")}
    extra = {"socks": 4} if socks4 else {}
    if "grant" in decision:
        return {"reply": "granted" if ours else "any", **extra}
    code = data[1]
    if "refuse" in decision:
        return {"reply": "refused", **extra}
    if socks4 or code == 1:
        # No document says which code answers what cannot be read, nor that one has to.
        return {"reply": "refused", "or_closed": True, **extra}
    return {"reply": [code], **extra}


def _needs(case: Case, script: Sequence[Mapping[str, Any]]) -> list[str]:
    needs = []
    if any(octet["form"] == "ipv6" for octet in _addresses(script)):
        needs.append("ipv6")
    if case.id.startswith("socks4."):
        needs.append("socks4")
    else:
        needs.append("socks5")
    refusing = any(octet["address"] == "closed" for octet in _addresses(script))
    if refusing or (case.result == "invalid" and ".name" in case.id):
        needs.append("dials")  # who does not use the target does not mind its name
    return needs


def _addresses(script: Sequence[Mapping[str, Any]]) -> list[Mapping[str, str]]:
    return [
        piece
        for step in script
        if isinstance(step.get("send"), list)
        for piece in step["send"]
        if isinstance(piece, Mapping) and "address" in piece
    ]


def _breaks(case: Case) -> list[str]:
    return [name for name in ("tor", "arti", "ptadapter") if f".{name}" in case.id]
