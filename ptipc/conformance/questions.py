"""What a case asks of an implementation, and whether an answer is right.

A case is asked in several ways: a text that is read is also written again, an exchange is played
whole, octet by octet, and with more octets behind it.  Each is one question, which holds nothing of
what is expected and stands on its own; so it can be put to an implementation in another language.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from attrs import evolve, field, frozen

from ptipc.conformance.cases import Case, fill, octets
from ptipc.core.dialects import Dialect

__all__ = ["TRAILING", "Answer", "Complaint", "Question", "canonical", "complaint", "questions"]

Step: TypeAlias = Mapping[str, Any]

TRAILING = b"\x05\x01\x00\x00GET / HTTP/1.1\r\n\r\n"
"""What belongs to whatever follows an exchange; it looks like more of the exchange on purpose."""

_GIVEN = {
    "session/host": ("stdout", "stderr", "eof"),
    "session/transport": ("say", "fail"),
    "datagrams/pool": ("event", "key", "at"),
}
"""What of a step is told to the implementation; the rest is what has to come of it."""

_HANDSHAKES = ("socks/", "http-connect/", "extorport/")
"""The exchanges behind which something else follows."""


def canonical(value: Any) -> str:
    """A JSON value as text that is equal for equal values only (to Python, ``True == 1``)."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


@frozen(kw_only=True)
class Question:
    """One thing that an implementation is asked to do."""

    op: str
    dialect: str
    input: Mapping[str, Any] = field(eq=False)
    script: tuple[Step, ...] | None = None
    """What happens, step by step, if anything does."""
    way: str = ""
    """How the case is asked: ``back``, ``split``, ``followed``; or as it stands."""
    result: str
    """What is expected: ``valid``, ``acceptable`` or ``invalid``."""
    output: Any = field(default=None, eq=False)
    """The value that is expected."""
    said: tuple[tuple[int, Any], ...] = ()
    """What is expected to have been said behind which step; 0 is before the first."""

    @property
    def wire(self) -> bool:
        """Whether what is said are octets, of which it does not matter how they are divided."""
        return self.script is not None and self.op not in _GIVEN

    @property
    def ways(self) -> set[str]:
        """In which respects it differs from an exchange as it stands: ``split``, ``followed``."""
        return {*self.way.split(", ")} & {"split", "followed"}

    def as_json(self) -> dict[str, Any]:
        """What the implementation is told."""
        told = {"op": self.op, "dialect": self.dialect, "input": self.input}
        return told if self.script is None else {**told, "script": list(self.script)}


@frozen(kw_only=True)
class Answer:
    """What an implementation made of a question."""

    value: Any = None
    accepted: bool = False
    """It was accepted, and the implementation cannot say with what meaning."""
    error: str | None = None
    """Why it was rejected."""
    code: int | None = None
    """The number with which the peer said no."""
    skip: str | None = None
    """Why there is no answer."""
    said: tuple[Any, ...] = ()
    """What was said before the first step, and in each step."""
    trailing: str | None = None
    """The octets behind an exchange, if the implementation knows them."""

    def as_json(self) -> dict[str, Any]:
        """The answer, without what the question does not ask for."""
        if self.skip is not None:
            return {"skip": self.skip}
        told: dict[str, Any] = {"ok": self.value}
        if self.error is not None:
            told = {"error": self.error}
        elif self.accepted:
            told = {"accepted": True}
        if self.code is not None:
            told["code"] = self.code
        if self.said:
            told["said"] = list(self.said)
        if self.trailing is not None:
            told["trailing"] = self.trailing
        return told

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Answer:
        """Read an answer; raises ValueError for what is none."""
        kinds = [key for key in ("ok", "accepted", "error", "skip") if key in told]
        if len(kinds) != 1:
            raise ValueError("not one of ok, accepted, error, skip")
        for key in ("error", "skip", "trailing"):
            if not isinstance(told.get(key, ""), str):
                raise ValueError(f"{key} is no text")
        if told.get("accepted", True) is not True:
            raise ValueError("accepted is not true")
        code = told.get("code")
        if code is not None and (not isinstance(code, int) or isinstance(code, bool)):
            raise ValueError("code is no number")
        said = told.get("said", [])
        if not isinstance(said, list):
            raise ValueError("said is no list")
        return cls(
            value=told.get("ok"),
            accepted="accepted" in told,
            error=told.get("error"),
            code=code,
            skip=told.get("skip"),
            said=tuple(said),
            trailing=told.get("trailing"),
        )


@frozen
class Complaint:
    """How an answer differs from what is right."""

    expected: str
    got: str


# --- asking ---------------------------------------------------------------------------------------


def questions(case: Case, dialect: Dialect) -> Iterator[Question]:
    """What a case asks in one edition, the most ordinary way first."""
    content = _unfolded(
        fill(case.content, {"version": dialect.version, "stream": dialect.error_stream.value})
        if case.kind == "config"
        else case.content
    )
    asked = Question(
        op=case.op,
        dialect=dialect.version,
        input=content["input"],
        result=case.result,
        output=content.get("output"),
    )
    name, _, verb = case.op.rpartition("/")
    if case.kind == "codec" and verb in ("parse", "emit"):
        yield from _of_text(asked, content, name)
    elif "script" in content:
        yield from _of_script(asked, content["script"])
    else:
        yield asked


def _of_text(asked: Question, content: Mapping[str, Any], name: str) -> Iterator[Question]:
    if asked.op.endswith("/parse"):
        yield asked
        if asked.result != "invalid":
            text = content.get("emitted", asked.input["text"])
            yield evolve(
                asked,
                op=f"{name}/emit",
                input={"value": asked.output},
                output=text,
                result="valid",
                way="back",
            )
    elif asked.result == "invalid":
        yield asked
    else:
        yield evolve(asked, output=asked.output["text"])
        yield evolve(
            asked,
            op=f"{name}/parse",
            input=asked.output,
            output=asked.input["value"],
            way="back",
        )


def _of_script(asked: Question, script: Sequence[Step]) -> Iterator[Question]:
    given = _GIVEN.get(asked.op)
    if given is None:
        yield from _of_exchange(asked, script)
        return
    steps = [{key: step[key] for key in given if key in step} for step in script]
    said = [{key: each for key, each in step.items() if key not in given} for step in script]
    whole = evolve(
        asked,
        script=tuple(steps),
        said=tuple((at, each) for at, each in enumerate(said, 1) if each),
    )
    yield whole
    if asked.op == "session/host":
        pieces = [piece for step in steps for piece in _pieces_of_lines(step)]
        yield evolve(whole, script=tuple(pieces), said=(), way="split")


def _of_exchange(asked: Question, script: Sequence[Step]) -> Iterator[Question]:
    whole = _exchange(asked, script, split=False)
    split = _exchange(asked, script, split=True)
    yield whole
    yield split
    ends = not any("eof" in step or "timeout" in step for step in script)
    if asked.op.startswith(_HANDSHAKES) and asked.result != "invalid" and ends:
        yield evolve(_exchange(asked, _followed(script), split=False), way="followed")
        yield evolve(_exchange(asked, _followed(script), split=True), way="followed, split")


def _exchange(asked: Question, script: Sequence[Step], *, split: bool) -> Question:
    steps: list[Step] = []
    said: list[tuple[int, str]] = []
    for step in script:
        if "send" in step:
            said.append((len(steps), step["send"]))
        elif split and "receive" in step:
            steps += [{"receive": octet} for octet in step["receive"].split()]
        else:
            steps.append(step)
    # When the script has come to its end, nothing is left to be sent.
    said.append((len(steps), ""))
    return evolve(asked, script=tuple(steps), said=tuple(said), way="split" if split else "")


def _followed(script: Sequence[Step]) -> list[Step]:
    at = max((at for at, step in enumerate(script) if "receive" in step), default=None)
    more = TRAILING.hex(" ")
    if at is None:
        return [*script, {"receive": more}]
    data = f"{script[at]['receive']} {more}".strip()
    return [*script[:at], {"receive": data}, *script[at + 1 :]]


def _pieces_of_lines(step: Step) -> Iterator[Step]:
    for stream, written in step.items():
        if stream == "eof":
            yield step
            continue
        data = written.encode("utf-8") if isinstance(written, str) else octets(written["octets"])
        for octet in data:
            text = chr(octet) if octet < 0x80 else {"octets": f"{octet:02x}"}
            yield {stream: text}


def _unfolded(value: Any) -> Any:
    """JSON in which no octets are folded any more."""
    if isinstance(value, Mapping):
        return {key: _unfolded(each) for key, each in value.items()}
    if isinstance(value, list):
        if any(isinstance(each, Mapping) and set(each) == {"repeat", "times"} for each in value):
            return octets(value).hex(" ")
        return [_unfolded(each) for each in value]
    return value


# --- judging --------------------------------------------------------------------------------------


def complaint(question: Question, answer: Answer) -> Complaint | None:
    """What is wrong with an answer; None if nothing is.  A skipped question has none."""
    if answer.skip is not None:
        return None
    if question.script is not None and (found := _wrong_words(question, answer)):
        return found
    if answer.error is not None:
        return _wrong_rejection(question, answer)
    expected = question.output
    if question.result == "invalid" and not isinstance(expected, Mapping):
        got = "it is accepted" if answer.accepted else f"it means {canonical(answer.value)}"
        return Complaint("it is rejected", got)
    if answer.accepted:
        return (
            None if question.result != "invalid" else Complaint("it is rejected", "it is accepted")
        )
    value = answer.value
    if isinstance(expected, Mapping) and isinstance(expected.get("error"), Mapping):
        value = _mentioning(value, expected["error"].get("mentions", ()))
    if canonical(value) != canonical(expected):
        return Complaint(canonical(expected), canonical(answer.value))
    if question.way.startswith("followed") and answer.trailing is not None:
        left = answer.trailing.replace(" ", "").lower()
        if not left.endswith(TRAILING.hex()):
            return Complaint(f"{TRAILING.hex(' ')} is left behind the end", answer.trailing)
    return None


def _wrong_rejection(question: Question, answer: Answer) -> Complaint | None:
    if question.result != "invalid":
        return Complaint(canonical(question.output), f"it is rejected: {answer.error}")
    if isinstance(question.output, Mapping) and answer.code is not None:
        code = question.output.get("code")
        if code != answer.code:
            expected = "the peer broke a rule" if code is None else f"it is refused with {code}"
            return Complaint(expected, f"it is refused with {answer.code}")
    return None


def _mentioning(value: Any, words: Sequence[str]) -> Any:
    """An error whose text is replaced by those of some words that it mentions."""
    if not isinstance(value, Mapping) or not isinstance(value.get("error"), Mapping):
        return value
    told = dict(value["error"])
    text = str(told.pop("text", ""))
    return {"error": {**told, "mentions": [word for word in words if word in text]}}


def _wrong_words(question: Question, answer: Answer) -> Complaint | None:
    if not question.said:
        return None
    assert question.script is not None
    if len(answer.said) != len(question.script) + 1:
        return Complaint(
            f"said has {len(question.script) + 1} elements, one more than there are steps",
            f"it has {len(answer.said)}",
        )
    start = 0
    for at, expected in question.said:
        if question.wire:
            try:
                got = " ".join(octets(each).hex(" ") for each in answer.said[start : at + 1])
                got = " ".join(got.split())
            except (AttributeError, KeyError, TypeError, ValueError):
                return Complaint("octets as hexadecimal digits", canonical(answer.said))
            start = at + 1
        else:
            got = answer.said[at]
        if canonical(got) != canonical(expected):
            return Complaint(
                f"behind step {at}: {_shown(expected)}", f"behind step {at}: {_shown(got)}"
            )
    return None


def _shown(words: Any) -> str:
    return (words or "nothing") if isinstance(words, str) else canonical(words)
