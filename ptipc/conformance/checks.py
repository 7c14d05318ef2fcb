"""The judgements: what a case expects, held against what happened.

Everything here is a pure function of a case and a transcript.  While a case is played, each step
leaves its outcome in the transcript, as an entry on the channel ``script``; ``step_problem`` says
whether it is what the step wants, to the player, who then stops, and to ``judge``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from attrs import evolve

from ptipc.conformance.cases import Case, fill
from ptipc.conformance.linechecks import LINES, Heard, Problem, Said
from ptipc.conformance.verdicts import Outcome, Transcript, Verdict
from ptipc.core.dialects import DIALECTS, Role
from ptipc.core.socksreplies import ReplyCode

__all__ = ["OR", "OUTCOME", "Judge", "judge", "matches", "sent_words", "step_problem", "verdict_of"]

OUTCOME = "outcome"
"""The event, on the channel ``script``, that tells how a step ended."""

OR = " or "
"""Between values of which any is right: the addresses of a client that has several."""


# --- patterns -------------------------------------------------------------------------------------


def matches(text: str, pattern: str) -> bool:
    """Whether a text fits a pattern, in which ``*`` is any run and ``?`` any one character."""
    rows = [True] + [False] * len(text)
    for sign in pattern:
        if sign == "*":
            before = False
            rows = [before := before or row for row in rows]
        else:
            fits = [sign in ("?", char) for char in text]
            rows = [False] + [row and fit for row, fit in zip(rows, fits, strict=False)]
    return rows[-1]


def _same_octets(found: str, pattern: str) -> bool:
    """Whether hexadecimal octets fit a pattern, in which ``..`` is any octet."""
    one, other = found.split(), pattern.split()
    return len(one) == len(other) and all(
        right in ("..", octet) for octet, right in zip(one, other, strict=True)
    )


# --- steps ----------------------------------------------------------------------------------------


def step_problem(
    step: Mapping[str, Any], outcome: str, capabilities: Sequence[str] = ()
) -> Problem | None:
    """What is wrong with how a step (filled) ended; None: nothing, or it cannot fail."""
    for verb, want in step.items():
        if verb in _STEPS:
            return _STEPS[verb](want, outcome, step, capabilities)
    return None


def _plain(expected: str, want: Any, outcome: str, *_: Any) -> Problem | None:
    right = expected if want is True else want
    return None if outcome == right else Problem(_WORDS.get(right, right), _in_words(outcome))


def _hear(want: str, outcome: str, *_: Any) -> Problem | None:
    return None if outcome == "heard" else Problem(f"a line {want!r}", _in_words(outcome))


def _exit(want: Any, outcome: str, *_: Any) -> Problem | None:
    return Problem("the process ends", "it is still running") if outcome == "timeout" else None


def _receive(want: Any, outcome: str, step: Mapping[str, Any], *_: Any) -> Problem | None:
    right = want if isinstance(want, str) else " ".join(want)
    if _same_octets(outcome, right) and not (
        "not" in step and _same_octets(outcome, str(step["not"]))
    ):
        return None
    but = f" (but not {step['not']})" if "not" in step else ""
    return Problem(f"{right}{but}" if right else "nothing", _in_words(outcome))


def _reply(
    want: Any, outcome: str, step: Mapping[str, Any], capabilities: Sequence[str]
) -> Problem | None:
    octets = outcome.split()
    version = step.get("socks", 5)
    granted = "00 5a" if version == 4 else "05 00 00"
    size = 8 if version == 4 else 10
    expected = _reply_words(want)
    whole = len(octets) >= size and all(len(octet) == 2 for octet in octets)
    if not whole:
        if step.get("or_closed") and outcome in ("eof", "reset"):
            return None
        return Problem(expected, _in_words(outcome))
    if not outcome.startswith("00 " if version == 4 else "05 ") or (
        version == 5 and (octets[2] != "00" or octets[3] not in ("01", "03", "04"))
    ):
        return Problem("a well-formed SOCKS reply", _in_words(outcome))
    if want == "granted" and "grants" not in capabilities:
        want = "any"  # a transport that cannot do without args says no, and may
    good = outcome.startswith(granted)
    right = {
        "granted": good,
        "refused": not good,
        "any": True,
    }.get(want if isinstance(want, str) else "", False)
    if not isinstance(want, str):
        right = int(octets[1], 16) in want
    return None if right else Problem(expected, _in_words(outcome))


def _reply_words(want: Any) -> str:
    if isinstance(want, str):
        return {
            "granted": "a reply that grants",
            "refused": "a reply that refuses",
            "any": "a reply",
        }[want]
    return "a reply with the code " + " or ".join(f"{code:02x}{_code_words(code)}" for code in want)


def _code_words(code: int) -> str:
    try:
        return f" ({ReplyCode(code).name.lower().replace('_', ' ')})"
    except ValueError:
        return ""


def _closed(want: Any, outcome: str, step: Mapping[str, Any], *_: Any) -> Problem | None:
    right = ("eof", "reset") if want is True else (want,)
    *octets, end = outcome.split()
    before = " ".join(octets)
    if end in right and (not before or (step.get("goodbye") and not _grants(before))):
        return None
    return Problem("the connection is closed", _in_words(outcome, late="it stays open"))


def _grants(octets: str) -> bool:
    return octets.startswith(("05 00 00", "00 5a"))


def _dial(want: Any, outcome: str, *_: Any) -> Problem | None:
    how = want if isinstance(want, str) else want["reply"]
    right = {
        "granted": outcome == "granted",
        "refused": outcome.startswith("refused"),
        "turned-away": outcome.startswith("refused") or outcome in ("eof", "reset"),
        "any": outcome == "granted" or outcome.startswith("refused"),
        "whatever": True,
    }
    if right.get(how, outcome == how):
        return None
    return Problem(_WORDS.get(how, how), _in_words(outcome))


_WORDS = {
    "ready": "DONE is said",
    "running": "the process goes on",
    "opened": "the connection is accepted",
    "not-opened": "the connection is not accepted",
    "quiet": "nothing is sent, and the connection stays open",
    "granted": "the connection is granted",
    "refused": "the connection is refused, by a reply",
    "turned-away": "the connection is refused or closed",
    "any": "an answer",
    "echoed": "the same octets come back",
    "accepted": "the transport connects",
    "not-accepted": "the transport does not connect",
    "timeout": "no answer in time",
    "eof": "the connection was closed",
    "reset": "the connection was reset",
    "no port": "there is no port to connect to: no line announced one",
    "gone": "the process had ended",
}


def _in_words(outcome: str, late: str = _WORDS["timeout"]) -> str:
    """How a step ended, for a person; ``late``: what it means that nothing came in time."""
    octets = outcome.split()
    words = {**_WORDS, "timeout": late}
    text = words.get(outcome, outcome)
    if len(octets) > 1 and len(octets[0]) == 2 and octets[-1] in words:
        return f"{' '.join(octets[:-1])}, then {words[octets[-1]]}"
    if outcome.startswith("05 ") and len(octets) >= 10:
        return f"{outcome}{_code_words(int(octets[1], 16))}"
    return text or "nothing"


_STEPS: Mapping[str, Callable[..., Problem | None]] = {
    "ready": partial(_plain, "ready"),
    "running": partial(_plain, "running"),
    "hear": _hear,
    "exit": _exit,
    "connect": partial(_plain, "opened"),
    "receive": _receive,
    "receive_datagram": _receive,
    "reply": _reply,
    "closed": _closed,
    "quiet": lambda want, *rest: _plain("quiet", True, *rest),
    "dial": _dial,
    "echo": lambda want, *rest: _plain("echoed", True, *rest),
    "accept": partial(_plain, "accepted"),
}
"""The steps that can fail, by their verbs."""


# --- the whole ------------------------------------------------------------------------------------


def _said(transcript: Transcript) -> tuple[Said, ...]:
    return tuple(
        Said(entry.channel, entry.text, entry.event == "line")
        for entry in transcript.find("stdout", "stderr")
        if entry.event in ("line", "fragment")
    )


def _heard(transcript: Transcript) -> Heard:
    launch = transcript.launch
    return Heard(
        said=_said(transcript),
        dialect=next(each for each in DIALECTS if each.version == launch["dialect"]),
        role=Role(launch["role"]),
        transports=tuple(launch["transports"]),
        proxy=bool(launch["proxy"]),
    )


def _spoken(transcript: Transcript) -> str:
    """What the process said and how it ended, for a person."""
    lines = _said(transcript)
    shown = [
        ("" if line.stream == "stdout" else "(stderr) ") + ascii(line.text)[1:-1][:200]
        for line in lines[:8]
    ]
    if len(lines) > 8:
        shown.append(f"... ({len(lines) - 8} more)")
    ends = list(transcript.find("exit"))
    shown.append(f"then {ends[0].text} after {ends[0].at:.2f} s" if ends else "and goes on")
    return "; ".join(shown) if lines else f"no line, {shown[-1]}"


def _says(want: Sequence[Any], transcript: Transcript) -> Problem | None:
    lines = _said(transcript)
    at = 0
    for each in want:
        stream, pattern = ("stdout", each) if isinstance(each, str) else next(iter(each.items()))
        streams = ("stdout", "stderr") if stream == "either" else (stream,)
        for found in range(at, len(lines)):
            line = lines[found]
            if line.stream in streams and matches(line.text, pattern):
                at = found + 1
                break
        else:
            behind = f", behind {lines[at - 1].text!r}" if at else ""
            return Problem(f"{pattern!r} on {' or '.join(streams)}{behind}", _spoken(transcript))
    return None


def _never(want: Sequence[str], transcript: Transcript) -> Problem | None:
    for line in _said(transcript):
        for pattern in want:
            if matches(line.text, pattern):
                return Problem(f"no line {pattern!r}", f"{line.text!r} on {line.stream}")
    return None


def _lines(want: Sequence[str], transcript: Transcript) -> Problem | None:
    heard = _heard(transcript)
    return next((problem for name in want if (problem := LINES[name](heard))), None)


def _exits(want: Any, transcript: Transcript) -> Problem | None:
    ends = list(transcript.find("exit"))
    if want == "running":
        return Problem("the process goes on", ends[0].text) if ends else None
    if not ends:
        return Problem("the process ends", "it goes on")
    if want == "any" or ends[-1].event == "gone":
        return None
    code = int(ends[-1].name) if ends[-1].event == "exit" else None
    if code if want == "error" else code in want:
        return None
    right = "a code that is not 0" if want == "error" else " or ".join(map(str, want))
    return Problem(f"exit with {right}", ends[-1].text)


def _files(want: str, transcript: Transcript) -> Problem | None:
    found = list(transcript.find("file", played=False))
    if want == "state-only":
        allowed = transcript.launch["values"]["state-files"]
        strays = [
            entry.text
            for entry in found
            if entry.event == "made"
            and entry.text != allowed
            and not entry.text.startswith(f"{allowed}/")
            and not allowed.startswith(f"{entry.text}/")
        ]
        return Problem(f"no file outside of {allowed}", ", ".join(strays)) if strays else None
    if want == "private":
        wide = [
            f"{entry.text} ({entry.name})"
            for entry in found
            if entry.event == "made" and int(entry.name, 8) & 0o022
        ]
        return Problem("files that nobody else may write to", ", ".join(wide)) if wide else None
    leaks = [entry.text for entry in found if entry.event == "leak"]
    return Problem("no client's address in a file", ", ".join(leaks)) if leaks else None


def _connections(want: Mapping[str, int], transcript: Transcript) -> Problem | None:
    own = {entry.text for entry in transcript.find("proxy", event="onward")}
    for channel, count in want.items():
        where = "target" if channel == "direct" else channel
        opened = [
            entry.text
            for entry in transcript.find(where, event="opened")
            if channel != "direct" or entry.text.removeprefix("from ") not in own
        ]
        if len(opened) != count:
            which = "past the proxy" if channel == "direct" else f"to the {channel}"
            return Problem(f"{count} connections {which}", f"{len(opened)}")
    return None


def _asked(want: Mapping[str, Any], transcript: Transcript) -> Problem | None:
    found = [json.loads(entry.text) for entry in transcript.find("proxy", event="asked")]
    if any(all(each.get(key) == value for key, value in want.items()) for each in found):
        return None
    return Problem(
        f"the proxy is asked for {json.dumps(dict(want))}",
        "; ".join(map(json.dumps, found)) or "nothing was asked of it",
    )


def _told(want: Sequence[Sequence[Any]], transcript: Transcript) -> Problem | None:
    """What the Extended ORPort was told: each of these, in this order, on one connection."""
    found: dict[str, list[list[Any]]] = {}
    for entry in transcript.find("extorport", event="told"):
        found.setdefault(entry.name, []).append(json.loads(entry.text))

    def fits(told: Sequence[Any], right: Sequence[Any]) -> bool:
        return told[0] == right[0] and (
            len(right) == 1 or any(matches(str(told[1]), each) for each in str(right[1]).split(OR))
        )

    for told in found.values():
        left: Iterator[list[Any]] = iter(told)
        if all(any(fits(each, right) for each in left) for right in want):
            return None
    said = "; ".join(" ".join(map(str, each)) for told in found.values() for each in told)
    expected = "; ".join(" ".join(map(str, each)) for each in want)
    return Problem(f"the Extended ORPort is told: {expected}", said or "it was told nothing")


def _not_told(want: Sequence[str], transcript: Transcript) -> Problem | None:
    for entry in transcript.find("extorport", event="told"):
        what, value = json.loads(entry.text)
        if what in want:
            return Problem(f"no {what} to the Extended ORPort", f"{what} {value}")
    return None


def _fresh(want: str, transcript: Transcript) -> Problem | None:
    """Whether what was told under a name was another thing each time."""
    told = [json.loads(entry.text) for entry in transcript.find("extorport", event="told")]
    values = [value for what, value in told if what == want]
    if len(values) > 1 and len(set(values)) == len(values):
        return None
    return Problem(f"another {want} each time", ", ".join(values))


_EXPECTATIONS: Mapping[str, Callable[[Any, Transcript], Problem | None]] = {
    "says": _says,
    "never": _never,
    "lines": _lines,
    "exit": _exits,
    "files": _files,
    "connections": _connections,
    "asked": _asked,
    "told": _told,
    "not_told": _not_told,
    "fresh": _fresh,
}


def sent_words(case: Case, transcript: Transcript) -> str:
    """What was special about what the program was given; the settings, if nothing was."""
    given = fill(case.content.get("input", {}), transcript.launch.get("values", {}))
    launch = transcript.launch
    settings = [f"{name}={text}" for name, text in launch.get("set", {}).items()]
    settings += launch.get("argv", [])
    words = [f"{name}={_brief(told)}" for name, told in given.get("told", {}).items()]
    if given.get("foreign"):
        words += [f"{name}={text}" for name, text in launch.get("extra", {}).items()]
    words += map(_brief, given.get("pt", ()))
    named = {**given.get("settings", {}), **given.get("raw", {})}
    if named or given.get("set") or given.get("unset") or given.get("argv"):
        words += settings
    for entry in transcript.find("port", "stdin", "signal", "target"):
        if entry.who == "tester" and entry.event in ("sent", "closed", "end", "reset", "SIGNAL"):
            words.append(entry.text or entry.event)
    return " ".join(words or settings)


def _brief(told: Any) -> str:
    text = told if isinstance(told, str) else json.dumps(told)
    return text if len(text) <= 200 else f"{text[:200]}..."


def judge(case: Case, transcript: Transcript) -> Problem | None:
    """What is wrong with a program that did this when the case was played; None: nothing.

    Raises LookupError, TypeError or ValueError if the case is not well formed.
    """
    values = transcript.launch["values"]
    script = fill(case.content["script"], values)
    capabilities = transcript.launch["capabilities"]
    for entry in transcript.find("script", event=OUTCOME):
        problem = step_problem(script[entry.step], entry.text, capabilities)
        if problem is not None:
            if _is_about_lines(script[entry.step]):
                problem = evolve(problem, got=f"{problem.got}: {_spoken(transcript)}")
            return problem
    for name, want in fill(case.content.get("expect", {}), values).items():
        problem = _EXPECTATIONS[name](want, transcript)
        if problem is not None:
            return problem
    return None


Judge: TypeAlias = Callable[[Case, Transcript], Problem | None]


def _is_about_lines(step: Mapping[str, Any]) -> bool:
    return any(verb in step for verb in ("ready", "hear", "exit", "running"))


def verdict_of(
    case: Case,
    dialect: str,
    transcript: Transcript,
    reproduce: str = "",
    judge: Judge = judge,
) -> Verdict:
    """The verdict on a case that was played; ``judge`` says what is wrong."""
    problem = judge(case, transcript)
    end = transcript.entries[-1].at if transcript.entries else 0.0
    return Verdict(
        id=case.id,
        title=case.title,
        level=case.level,
        rule=case.rule,
        section=case.section,
        requirements=case.requirements,
        dialect=dialect,
        outcome=Outcome.PASSED if problem is None else Outcome.FAILED,
        sent=sent_words(case, transcript),
        expected="" if problem is None else problem.expected,
        got="" if problem is None else problem.got,
        breaks=tuple(case.content.get("breaks", ())) if problem is not None else (),
        seconds=end,
        transcript=transcript,
        reproduce=reproduce,
    )
