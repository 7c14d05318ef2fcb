"""A conversation for people to read: who says what, and what that means.

The host and the processes have a column with their names, what they say stands beside it, and below
that ``=`` what it means, at its first occurrence, or ``!`` what is wrong with it.
"""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from attrs import define, field

from ptipc.cli.masking import masked_setting
from ptipc.cli.screen import Tone
from ptipc.core.codecs import shortened, visible
from ptipc.core.config import Invocation
from ptipc.core.messages import FORMS, Message
from ptipc.core.parameters import PARAMETERS
from ptipc.core.session import Event, Heard, Incomplete, StderrText, Violation

__all__ = ["Narrator", "Out", "as_it_is", "wrapped"]

WIDTH = 80
LONGEST = 1000
"""How many characters of a line are shown."""

Out: TypeAlias = Callable[[str, Tone], object]
"""What is called with each line."""


def _indent() -> str:
    return "   "


def as_it_is(line: str) -> str:
    """A line with everything in it."""
    return line


@define(eq=False)
class Narrator:
    """Tells a conversation to ``out``.

    ``margin`` gives what stands before each entry, and ``shown`` what is to be shown of a line.
    """

    out: Out
    margin: Callable[[], str] = field(default=_indent, kw_only=True)
    shown: Callable[[str], str] = field(default=as_it_is, kw_only=True)
    masked: bool = field(default=True, kw_only=True)
    """Whether secrets among the settings are left out."""
    _explained: set[object] = field(factory=set, init=False)
    _last: tuple[str, str] | None = field(default=None, init=False)
    """The line that was told last, and whose it was."""
    _room: int = field(default=0, init=False)
    """How far to the right the last entry began."""

    def head(self, title: str) -> None:
        """Begin a part."""
        self.out("", "plain")
        self.out(title, "plain")

    def say(self, text: str) -> None:
        """Tell something in between."""
        for line in wrapped(text, self.margin()):
            self.out(line, "plain")

    def line(self, who: str, text: str, meaning: str = "") -> None:
        """Tell what somebody says or does, and what that means if it was not told before."""
        self._last = None
        self._entry(who, text)
        if meaning and (who, meaning) not in self._explained:
            self._explained.add((who, meaning))
            self._below("=", meaning, "faint")

    def wrong(self, text: str) -> None:
        """Tell what is wrong with what was told last."""
        self._below("!", visible(text, "utf-8"), "bad")

    def start(self, command: Iterable[str], invocation: Invocation) -> None:
        """Tell how the host starts a process, and with what settings."""
        self.line("host", f"starts {shlex.join(command)}")
        self.settings(invocation.set)
        for flag, text in _flags(invocation.argv):
            self.line("host", f"adds {flag} {self._setting(flag, text)}".rstrip(), _meaning(flag))

    def settings(self, variables: Mapping[str, str]) -> None:
        """Tell what variables the host sets."""
        for name, text in variables.items():
            self.line("host", f"sets {name}={self._setting(name, text)}", _meaning(name))

    def _setting(self, spelling: str, text: str) -> str:
        return masked_setting(spelling, text) if self.masked else text

    def event(self, who: str, event: Event) -> None:
        """Tell what a process said."""
        match event:
            case Heard():
                self.line(who, self.shown(event.line), _meaning_of(event.message))
                self._last = (who, event.line)
            case Violation():
                if self._last != (who, event.line):
                    self.line(who, self.shown(event.line))
                rule = f" ({event.rule})" if event.rule.startswith("C") else ""
                self.wrong(f"against the rules: {event.text}{rule}")
            case StderrText():
                self.line(who, f"(stderr) {event.line}")
            case Incomplete():
                self.line(who, self.shown(event.line))
                self.wrong(
                    "too long a line; the rest of it is not read"
                    if event.truncated
                    else "a line without its end, which nobody takes notice of (C18)"
                )

    def _entry(self, who: str, text: str) -> None:
        text = shortened(visible(text, "utf-8"), LONGEST)
        margin = f"{self.margin()}{who:<7} "
        self._room = len(margin)
        lines = [margin + text]
        if len(lines[0]) > WIDTH:
            lines = wrapped(text, margin) or lines
        for line in lines:
            self.out(line.rstrip(), "plain")

    def _below(self, sign: str, text: str, tone: Tone) -> None:
        for line in wrapped(text, f"{' ' * self._room}  {sign} "):
            self.out(line, tone)


def wrapped(text: str, before: str) -> list[str]:
    """Text in lines of the usual width, behind something; no word is broken."""
    return textwrap.wrap(
        shortened(text, LONGEST),
        WIDTH,
        initial_indent=before,
        subsequent_indent=" " * len(before),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _meaning_of(message: Message) -> str:
    return next((form.meaning for form in FORMS if form.message is type(message)), "")


def _meaning(spelling: str) -> str:
    """What a variable or a flag is for."""
    names = [row.name for row in PARAMETERS if spelling in row.spellings]
    return next((row.meaning for row in PARAMETERS if row.name in names and row.meaning), "")


def _flags(argv: Iterable[str]) -> Iterable[tuple[str, str]]:
    bare = {row.flag for row in PARAMETERS if row.bare}
    words = iter(argv)
    for flag in words:
        yield flag, "" if flag in bare else next(words, "")
