"""The judgements on a host: what a case expects, held against what happened to its transport.

As in ``checks``, everything is a pure function of a case and a transcript.  What the host does to
the scripted transport process stands on the channel ``pt``; the name of an entry is the number of
the process, for a host may start several, one after the other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from ptipc.conformance.cases import Case, fill
from ptipc.conformance.checks import OUTCOME, matches, step_problem
from ptipc.conformance.linechecks import Problem
from ptipc.conformance.operations.config import OPERATIONS
from ptipc.conformance.verdicts import Entry, Transcript
from ptipc.core.dialects import DIALECTS, Dialect
from ptipc.core.errors import ConfigError
from ptipc.core.settings import find

__all__ = ["host_problem", "host_step_problem", "settings_of"]


# --- steps ----------------------------------------------------------------------------------------


def host_step_problem(step: Mapping[str, Any], outcome: str) -> Problem | None:
    """What is wrong with how a step (filled) ended; None: nothing, or it cannot fail."""
    for verb, want in step.items():
        if verb in _STEPS:
            return _STEPS[verb](want, outcome, step)
    return step_problem(step, outcome)


def _plain(
    right: str, expected: str, words: Mapping[str, str], want: Any, outcome: str, step: Any
) -> Problem | None:
    return None if outcome == right else Problem(expected, words.get(outcome, outcome))


def _used(want: bool, outcome: str, step: Any) -> Problem | None:
    used, unused = "the host connects to the transport", "the host does not connect to it"
    if want:
        return None if outcome == "used" else Problem(used, _UNUSED.get(outcome, outcome))
    return Problem(unused, "it connects") if outcome == "used" else None


_UNUSED = {
    "unused": "it does not, in that time",
    "over": "the host ends",
    "gone": "it does not, and the transport process is gone",
}


def _starts(want: int, outcome: str, step: Mapping[str, Any]) -> Problem | None:
    if int(outcome) <= want:
        return None
    return Problem(f"at most {want} starts in {step['for']:g} s", f"{outcome} starts")


def _greeting(want: Sequence[str], outcome: str, step: Any) -> Problem | None:
    return None if outcome in want else Problem(" or ".join(want), outcome or "nothing")


def _asks(want: Mapping[str, Any], outcome: str, step: Any) -> Problem | None:
    try:
        found = json.loads(outcome)
    except ValueError:
        return Problem("a request that can be read", outcome)
    for key, value in want.items():
        if found.get(key) != value:
            return Problem(f"{key}: {json.dumps(value)}", json.dumps(found.get(key)))
    return None


def _types(want: str, outcome: str, step: Any) -> Problem | None:
    *offered, end = outcome.split()
    right = f"a list of types that has {want}, and 00 behind it"
    return None if end == "00" and want in offered else Problem(right, outcome)


def _prove(want: str, outcome: str, step: Any) -> Problem | None:
    return None if outcome == want else Problem(_PROOFS[want], _PROOFS.get(outcome, outcome))


_PROOFS = {
    "accepted": "01: the hash is right",
    "refused": "00: the hash is wrong",
    "unproved": "a hash of the host that is wrong",
    "timeout": "nothing",
    "eof": "the connection is closed",
}


def _answer(want: Sequence[str], outcome: str, step: Any) -> Problem | None:
    return None if outcome in want else Problem(" or ".join(want), _PROOFS.get(outcome, outcome))


def _cookie_file(want: str, outcome: str, step: Any) -> Problem | None:
    try:
        found = json.loads(outcome)
    except ValueError:
        return Problem("a cookie file", outcome)
    if want == "good":
        right = "the header and 32 octets"
        return None if found["form"] == "good" else Problem(right, found["form"])
    right = "a cookie file that nobody else can read"
    return None if found["private"] else Problem(right, f"the mode is {found['mode']}")


def _direct(want: bool, outcome: str, step: Any) -> Problem | None:
    right = "no connection to the target but through the transport"
    return Problem(right, "the host connects to it") if outcome == "direct" else None


_STEPS: Mapping[str, Callable[[Any, str, Any], Problem | None]] = {
    "started": partial(
        _plain, "started", "the transport process is started", {"over": "the host ends first"}
    ),
    "played": partial(
        _plain,
        "played",
        "everything that the transport process says is read",
        {"gone": "it is gone", "timeout": "it still waits to be read"},
    ),
    "alive": partial(
        _plain, "alive", "the transport process is left alone", {"gone": "it is gone"}
    ),
    "gone": partial(
        _plain, "gone", "the transport process is gone", {"alive": "it is still there"}
    ),
    "open": partial(
        _plain, "open", "the connection stays open", {"eof": "closed", "reset": "it is reset"}
    ),
    "running": partial(_plain, "running", "the host goes on", {"gone": "it ends"}),
    "exit": partial(_plain, "gone", "the host ends", {"timeout": "it does not"}),
    "used": _used,
    "starts": _starts,
    "greeting": _greeting,
    "asks": _asks,
    "again": partial(_plain, "ended", "the host ends", {"running": "it does not"}),
    "call": partial(
        _plain,
        "opened",
        "a connection to the Extended ORPort",
        {"not said": "no such port is said", "not-opened": "it is refused"},
    ),
    "types": _types,
    "prove": _prove,
    "answer": _answer,
    "cookie_file": _cookie_file,
    "direct": _direct,
}
"""The steps that only cases about hosts have, and that can fail."""


# --- what the transport process saw ---------------------------------------------------------------


def _processes(transcript: Transcript, *, played: bool = True) -> list[list[Entry]]:
    """What each of the transport processes reported."""
    found: dict[str, list[Entry]] = {}
    for entry in transcript.find("pt", played=played):
        found.setdefault(entry.name, []).append(entry)
    return list(found.values())


def _launch(transcript: Transcript) -> Mapping[str, Any] | None:
    """With what the first one was started."""
    for entry in transcript.find("pt", event="started"):
        found: Mapping[str, Any] = json.loads(entry.text)
        return found
    return None


_NEVER = "the transport process is never started"


def settings_of(launch: Mapping[str, Any], dialect: Dialect) -> Mapping[str, Any]:
    """What a transport process is told by what it reports of its start, as ``config/read`` has it.

    ``error`` if that cannot be read.
    """
    read = OPERATIONS["config/read"].run  # type: ignore[union-attr]
    found: Mapping[str, Any] = read({key: launch[key] for key in ("environ", "argv")}, dialect)
    return found


def _given(want: Mapping[str, Any], transcript: Transcript) -> Problem | None:
    """The settings, in the words of ``config/read``; a text may be a pattern, null is not said."""
    launch = _launch(transcript)
    if launch is None:
        return Problem("a launch", _NEVER)
    found = settings_of(launch, _dialect(transcript))
    if "error" in found:
        return Problem("settings that can be read", found["error"]["text"])
    for key, value in want.items():
        have = found.get(key)
        if not _fits(have, value):
            said = "not said" if have is None else json.dumps(have)
            right = "not said" if value is None else json.dumps(value)
            return Problem(f"{key}: {right}", said)
    return None


def _said(want: Mapping[str, str], transcript: Transcript) -> Problem | None:
    """The settings as they stand in a variable or a flag, as patterns."""
    launch = _launch(transcript)
    if launch is None:
        return Problem("a launch", _NEVER)
    try:
        found = find(launch["environ"], launch["argv"], _dialect(transcript))
    except ConfigError as error:
        return Problem("settings that can be read", str(error))
    texts = {each.parameter.name: each.text for each in found}
    for name, pattern in want.items():
        text = texts.get(name)
        if text is None or not matches(text, pattern):
            return Problem(f"{name}: {pattern}", "not said" if text is None else text)
    return None


def _fits(have: Any, want: Any) -> bool:
    """Whether a value is the one that is wanted, with patterns for texts, in the same order."""
    if isinstance(want, str) and isinstance(have, str):
        return matches(have, want)
    if isinstance(want, Mapping) and isinstance(have, Mapping):
        return [*have] == [*want] and all(_fits(have[key], want[key]) for key in want)
    return bool(have == want)


def _dialect(transcript: Transcript) -> Dialect:
    version = transcript.launch["dialect"]
    return next(each for each in DIALECTS if each.version == version)


def _set(want: Mapping[str, str | None], transcript: Transcript) -> Problem | None:
    """The variables, by pattern; null: it is not there."""
    launch = _launch(transcript)
    if launch is None:
        return Problem("a launch", _NEVER)
    for name, pattern in want.items():
        text = launch["environ"].get(name)
        if pattern is None:
            if text is not None:
                return Problem(f"no {name}", f"{name}={text}")
        elif text is None or not matches(text, pattern):
            return Problem(f"{name}={pattern}", "it is not set" if text is None else text)
    return None


def _allowed(want: Sequence[str], transcript: Transcript) -> Problem | None:
    """The variables that may be there, by pattern."""
    launch = _launch(transcript)
    if launch is None:
        return Problem("a launch", _NEVER)
    strays = [
        f"{name}={text}"
        for name, text in launch["environ"].items()
        if not any(matches(name, pattern) for pattern in want)
    ]
    return (
        Problem("nothing that the host does not set itself", " ".join(strays)) if strays else None
    )


def _stdin(want: str, transcript: Transcript) -> Problem | None:
    """The standard input, as far as the end of it counts."""
    launch = _launch(transcript)
    if launch is None:
        return Problem("a launch", _NEVER)
    kind = launch["streams"][0]
    if kind not in ("pipe", "socket"):
        return Problem("a pipe on standard input", kind)
    ends = list(transcript.find("pt", event="stdin-end", name="1"))
    stops = list(transcript.find("signal"))
    if ends and (not stops or ends[0].at < stops[0].at):
        return Problem("standard input stays open", f"its end comes after {ends[0].at:.2f} s")
    return None


def _signals(want: str, transcript: Transcript) -> Problem | None:
    launch = _launch(transcript)
    if launch is None:
        return Problem("a launch", _NEVER)
    found = ", ".join(launch["ignored"])
    return Problem("no signal is ignored or blocked", found) if found else None


def _told(transcript: Transcript) -> list[str]:
    """How the first transport process was asked to end, each way once."""
    found: list[str] = []
    for entry in next(iter(_processes(transcript)), []):
        what = {"stdin-end": "stdin", "signal": entry.text.removeprefix("SIG")}.get(entry.event)
        if what is not None and what not in found:
            found.append(what)
    return found


def _asked(want: Sequence[str], transcript: Transcript) -> Problem | None:
    """How the host asks it to end, in this order, whatever else comes between."""
    told = _told(transcript)
    places = [told.index(each) if each in told else -1 for each in want]
    if -1 not in places and places == sorted(places):
        return None
    return Problem(" and then ".join(map(_ask_words, want)), _ask_list(told))


def _asked_by(want: Sequence[str], transcript: Transcript) -> Problem | None:
    """By one of these at least."""
    told = _told(transcript)
    if set(told) & {*want}:
        return None
    return Problem(" or ".join(map(_ask_words, want)), _ask_list(told))


def _ask_words(what: str) -> str:
    return "the end of standard input" if what == "stdin" else f"SIG{what}"


def _ask_list(told: Sequence[str]) -> str:
    return ", then ".join(map(_ask_words, told)) or "it is not asked to end"


def _ends(want: str, transcript: Transcript) -> Problem | None:
    """How each of the transport processes ended: ``by itself``."""
    for entries in _processes(transcript):
        events = [entry.event for entry in entries]
        if "gone" in events and "ended" not in events:
            return Problem("it ends by itself", "it was killed")
    return None


def _fresh(want: Sequence[str], transcript: Transcript) -> Problem | None:
    """What is to be another one each time; less than two of it tell nothing."""
    for what in want:
        found = [entry.text for entry in transcript.find("extorport", event=what)]
        if len(found) < 2:
            return Problem(f"two of the kind: {what}", f"{len(found)}")
        if len({*found}) < len(found):
            return Problem(f"each {what} is another one", f"{found[0]} comes again")
    return None


_EXPECTATIONS: Mapping[str, Callable[[Any, Transcript], Problem | None]] = {
    "given": _given,
    "said": _said,
    "set": _set,
    "allowed": _allowed,
    "stdin": _stdin,
    "signals": _signals,
    "asked": _asked,
    "asked_by": _asked_by,
    "ends": _ends,
    "fresh": _fresh,
}


# --- the whole ------------------------------------------------------------------------------------


def _crash(transcript: Transcript) -> Problem | None:
    """Whether the host has died of a signal that was not ours."""
    ours = {entry.text for entry in transcript.find("signal")}
    for entry in transcript.find("exit", event="signal"):
        name = entry.text.removeprefix("signal ")
        if name not in ours:
            return Problem("the host goes on, or ends by itself", f"the host dies of {name}")
    return None


def host_problem(case: Case, transcript: Transcript) -> Problem | None:
    """What is wrong with a host under which this happened; None: nothing.

    Raises LookupError, TypeError or ValueError if the case is not well formed.
    """
    values = transcript.launch["values"]
    script = fill(case.content["script"], values)
    problem = _crash(transcript)
    if problem is not None:
        return problem
    for entry in transcript.find("script", event=OUTCOME):
        problem = host_step_problem(script[entry.step], entry.text)
        if problem is not None:
            return problem
    for name, want in fill(case.content.get("expect", {}), values).items():
        problem = _EXPECTATIONS[name](want, transcript)
        if problem is not None:
            return problem
    return None
