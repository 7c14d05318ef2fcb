"""Failures that somebody knows of, with reasons, in a file of theirs.

    fixtures = "1.0.0"          # the version that the list was made with

    [fail."client.proxy.garbage"]
    got = "*exit 1*"            # what is found has to be this, still
    reason = "goptlib exits without a word"
    dialects = ["1"]            # all, if not given
    sometimes = true            # it may pass as well: a race in the program

    [skip]
    "server" = "a client only"  # cases that are not to be played

A listed failure that passes is an error: the list has to follow the program.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from ptipc.conformance.cases import Case, fixtures_directory
from ptipc.conformance.checks import matches
from ptipc.conformance.verdicts import Outcome, Verdict

__all__ = ["Expectations", "Known", "fixtures_version", "read", "updated"]


@frozen(kw_only=True)
class Known:
    """One failure that is expected."""

    id: str
    reason: str
    got: str = "*"
    """What is found, as a pattern with ``*`` and ``?``."""
    dialects: tuple[str, ...] = ()
    """The editions in which it is expected; none: all."""
    sometimes: bool = False
    """It is a matter of chance, so that to pass is no surprise."""

    def is_about(self, verdict: Verdict) -> bool:
        """Whether a verdict is on this case, in an edition that is meant."""
        return verdict.id == self.id and (not self.dialects or verdict.dialect in self.dialects)


@frozen(kw_only=True)
class Expectations:
    """The whole list."""

    fixtures: str
    """The version of the fixtures that it was made with."""
    known: tuple[Known, ...] = ()
    skip: Mapping[str, str] = field(factory=dict)
    """Patterns of cases that are not to be played, with the reasons."""

    def applied(self, verdict: Verdict) -> Verdict:
        """A verdict with its excuse, if the failure is in the list and is the one meant."""
        for known in self.known:
            if known.is_about(verdict) and verdict.outcome in (Outcome.PASSED, Outcome.FAILED):
                if verdict.outcome is Outcome.PASSED and known.sometimes:
                    return verdict
                if verdict.outcome is Outcome.FAILED and not matches(verdict.got, known.got):
                    return evolve(verdict, reason=f"another failure is expected: {known.got}")
                return evolve(verdict, excuse=known.reason)
        return verdict

    def is_newer(self, case: Case) -> bool:
        """Whether a case came into the fixtures after the list was made."""
        return _release(self.fixtures) < _release(str(case.content.get("since", "0")))


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


def fixtures_version() -> str:
    """The version of the fixtures that are installed."""
    return (fixtures_directory() / "VERSION").read_text(encoding="utf-8").strip()


def read(path: Path) -> Expectations:
    """Read a file.  Raises OSError, and ValueError, with the file's name, for what is none."""
    try:
        with path.open("rb") as file:
            content = tomllib.load(file)
        known = [
            Known(id=id, **_checked(id, entry)) for id, entry in content.pop("fail", {}).items()
        ]
        found = Expectations(
            fixtures=str(content.pop("fixtures")),
            known=tuple(known),
            skip={str(pattern): str(why) for pattern, why in content.pop("skip", {}).items()},
        )
        if content:
            raise ValueError(f"no such key: {next(iter(content))!r}")
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise ValueError(f"{path}: {error!r}") from None
    return found


def _checked(id: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(entry.get("reason"), str) or not entry["reason"].strip():
        raise ValueError(f"{id}: no reason is given")
    return {**entry, "dialects": tuple(entry.get("dialects", ()))}


# --- writing --------------------------------------------------------------------------------------

_REASON = "to be looked at"


def updated(old: Expectations | None, verdicts: Iterable[Verdict]) -> str:
    """The text of a file that expects exactly what was found.

    Reasons that stand in the old one are kept, as are cases that were not played this time.
    """
    verdicts = list(verdicts)
    kept = {} if old is None else {(known.id, known.dialects): known for known in old.known}
    played = {(verdict.id, verdict.dialect) for verdict in verdicts}
    found: dict[tuple[str, str], list[str]] = {}
    for verdict in verdicts:
        if verdict.outcome is Outcome.FAILED:
            found.setdefault((verdict.id, verdict.got), []).append(verdict.dialect)
    entries = []
    for (id, got), dialects in found.items():
        before = [known for known in kept.values() if known.id == id]
        same = next((known for known in before if matches(got, known.got)), None)
        sometimes = any(known.sometimes for known in before)
        reason = same.reason if same else before[0].reason if before else _REASON
        pattern = same.got if same else _pattern(got)
        everywhere = {each.dialect for each in verdicts if each.id == id} == set(dialects)
        entries.append(
            Known(
                id=id,
                reason=reason,
                got=pattern,
                dialects=() if everywhere else tuple(dialects),
                sometimes=sometimes,
            )
        )
    judged = {id for id, _ in played}
    failed = {entry.id for entry in entries}
    entries += [
        known
        for known in kept.values()
        if known.id not in judged or (known.sometimes and known.id not in failed)
    ]
    return _emit(entries, {} if old is None else old.skip)


def _pattern(got: str) -> str:
    """A pattern for what was found that does not depend on ports, times and places."""
    words = []
    for word in got.split(" "):
        digits = sum(char.isdigit() for char in word)
        hexadecimal = len(word) == 2 and all(char in "0123456789abcdef" for char in word)
        exact = hexadecimal or digits <= 1 or not any(char in ":./" for char in word)
        words.append(word if exact else "*")
    text = " ".join(words).replace("?", "*")
    while "* *" in text:
        text = text.replace("* *", "*")
    return text


def _emit(entries: Sequence[Known], skip: Mapping[str, str]) -> str:
    lines = [f"fixtures = {_text(fixtures_version())}"]
    for known in sorted(entries, key=lambda each: (each.id, each.dialects)):
        lines += [
            "",
            f"[fail.{_text(known.id)}]",
            f"got = {_text(known.got)}",
            f"reason = {_text(known.reason)}",
        ]
        if known.dialects:
            lines.append(f"dialects = [{', '.join(map(_text, known.dialects))}]")
        if known.sometimes:
            lines.append("sometimes = true")
    if skip:
        lines += ["", "[skip]", *(f"{_text(each)} = {_text(why)}" for each, why in skip.items())]
    return "\n".join(lines) + "\n"


def _text(text: str) -> str:
    """A basic string of TOML."""
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return '"{}"'.format(
        "".join(
            escapes.get(char) or (char if char.isprintable() else _escape(char)) for char in text
        )
    )


def _escape(char: str) -> str:
    number = ord(char)
    if 0xD800 <= number < 0xE000:
        return "?"  # no document in TOML can hold it
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
