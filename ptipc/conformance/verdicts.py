"""What came of a case: what was said and done, and the judgement."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import Any

from attrs import field, frozen

__all__ = ["END", "Entry", "Outcome", "Transcript", "Verdict"]

END = "end"
"""The event, on the channel ``script``, behind which the tester only cleans up."""


class Outcome(enum.Enum):
    """How a case ended."""

    PASSED = "passed"
    FAILED = "failed"
    """The program broke the rule; what that weighs depends on the level of the rule."""
    SKIPPED = "skipped"
    """The case does not apply to the program, and why is told."""
    BROKEN = "broken"
    """It is our own fault that there is no judgement."""


@frozen(kw_only=True)
class Entry:
    """Something that happened while a case was played."""

    at: float
    """Seconds since the start of the case."""
    who: str
    """``tester`` or ``target``."""
    channel: str
    """``launch``, ``stdin``, ``stdout``, ``stderr``, ``signal``, ``exit`` or ``file``; ``port``
    (where the transport listens), ``target``, ``proxy`` or ``extorport`` (where it connects to);
    ``script`` (a step begins, or the tester gives up)."""
    text: str
    """What was said or done: a line, octets as spaced hexadecimal, words, or JSON."""
    event: str = ""
    """What kind of thing it was: ``line``, ``opened``, ``sent``, ``received``, ``eof``, ..."""
    name: str = ""
    """Which connection, on channels that can have several."""
    step: int = -1
    """The step of the script, from 0; -1: before the first."""


@frozen(kw_only=True)
class Transcript:
    """Everything that happened while a case was played, in order."""

    entries: tuple[Entry, ...] = ()
    launch: Mapping[str, Any] = field(factory=dict)
    """The ``command``; the variables that were ``set`` and the flags (``argv``); the ``values`` of
    what stands in braces in a case; and the ``capabilities`` of the transport, as probed."""

    def find(
        self, *channels: str, event: str = "", name: str = "", played: bool = True
    ) -> Iterator[Entry]:
        """The entries on some channels; ``played``: only those before the tester cleaned up."""
        for entry in self.entries:
            if played and entry.channel == "script" and entry.event == END:
                return
            if (
                entry.channel in channels
                and event in ("", entry.event)
                and name in ("", entry.name)
            ):
                yield entry


@frozen(kw_only=True)
class Verdict:
    """The judgement of one case on one program, in one edition."""

    id: str
    title: str
    level: str
    rule: str
    section: str
    dialect: str
    outcome: Outcome
    requirements: tuple[str, ...] = ()
    sent: str = ""
    """What the program was given, in words."""
    expected: str = ""
    got: str = ""
    reason: str = ""
    """Why it was skipped or broken, or the name of a known quirk."""
    excuse: str = ""
    """Why the user expects it to fail, if so; to pass is then a surprise."""
    breaks: tuple[str, ...] = ()
    """The hosts or peers that will not get along with the program."""
    seconds: float = 0.0
    transcript: Transcript = Transcript()
    reproduce: str = ""
    """The command that plays just this case."""
