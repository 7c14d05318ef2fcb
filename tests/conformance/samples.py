"""Verdicts made by hand: what a report has to cope with, without a program under test."""

from __future__ import annotations

from ptipc.conformance.runs import Run
from ptipc.conformance.verdicts import END, Entry, Outcome, Transcript, Verdict

__all__ = ["NASTY", "TRANSCRIPT", "quiet", "samples", "verdict"]

NASTY = "<script>alert(1)</script> & \"'|`*_#@ \x00\x1b[31m\r\ud800\u202e ]]> </noscript>"
"""What a program may say: markup of each format, control characters, half a surrogate pair."""

TRANSCRIPT = Transcript(
    launch={
        "command": ["./pt", "--log dir"],
        "argv": [],
        "set": {"TOR_PT_CLIENT_TRANSPORTS": "a b", "TOR_PT_MANAGED_TRANSPORT_VER": "1"},
        "extra": {},
    },
    entries=(
        Entry(at=0.0, who="tester", channel="launch", event="start", text="./pt"),
        Entry(at=0.01, who="target", channel="stdout", event="line", text=NASTY),
        Entry(at=0.1, who="tester", channel="port", event="sent", text="05 02 00 02", step=0),
        Entry(
            at=0.2,
            who="target",
            channel="port",
            event="received",
            name="2",
            text=b"<b>HTTP/1.1 200 OK</b>".hex(" ") + " ... (5000 octets)",
            step=1,
        ),
        Entry(at=0.3, who="target", channel="port", event="eof", text="", step=1),
        Entry(at=0.4, who="tester", channel="script", event=END, text="", step=1),
    ),
)


def verdict(
    id: str,
    outcome: Outcome = Outcome.PASSED,
    *,
    level: str = "MUST",
    dialect: str = "1",
    got: str = "",
    excuse: str = "",
    reason: str = "",
) -> Verdict:
    """A verdict with everything that can be said in it."""
    return Verdict(
        id=id,
        title=f"The title of {id}",
        level=level,
        rule=f"The rule of {id}.",
        section="PT 1 3.3.2",
        dialect=dialect,
        outcome=outcome,
        requirements=("pt.one", "pt.two"),
        sent="TOR_PT_PROXY=socks5:///x",
        expected="PROXY-ERROR",
        got=got,
        reason=reason,
        excuse=excuse,
        breaks=("tor 0.4.9",) if level == "INTEROP" else (),
        seconds=0.25,
        transcript=TRANSCRIPT,
        reproduce=f"ptipc check client a --select {id} -- ./pt",
    )


def samples() -> list[Run]:
    """Two programs in two editions: every mark, and every character that means something."""
    failed, passed = Outcome.FAILED, Outcome.PASSED
    first = [verdict("client.proxy.answer", failed, got=NASTY, dialect=dialect) for dialect in "12"]
    first += [
        verdict("client.start.order"),
        verdict("client.start.order", dialect="2"),
        verdict("client.start.should", failed, level="SHOULD", got="too late"),
        verdict("client.socks5.may", failed, level="MAY", got="nothing"),
        verdict("client.socks5.interop", failed, level="INTEROP", got="closed", reason="goptlib"),
        verdict("client.socks5.known", failed, got="silence", excuse="goptlib 1.6"),
        verdict("client.socks5.mended", passed, excuse="goptlib 1.6"),
        verdict("client.stop.skipped", Outcome.SKIPPED, reason="it has no server side"),
        verdict("client.stop.broken", Outcome.BROKEN, reason="TimeoutError: no port"),
    ]
    return [
        Run(
            program="./pt.bin",
            version="1.0",
            what="client a",
            command=("./pt.bin", "--x"),
            dialects=("1", "2"),
            time="2026-01-02T03:04:05Z",
            seconds=12.5,
            ptipc="0.1.0",
            fixtures="0.2.0",
            verdicts=first,
        ),
        quiet(),
    ]


def quiet(program: str = "good", *, version: str = "", what: str = "", time: str = "") -> Run:
    """A program against which nothing can be said."""
    ids = ("client.start.order", "client.proxy.answer", "client.socks5.may")
    return Run(
        program=program,
        version=version,
        what=what,
        time=time,
        dialects=("1",),
        verdicts=[verdict(id, level="MAY" if id.endswith("may") else "MUST") for id in ids],
    )
