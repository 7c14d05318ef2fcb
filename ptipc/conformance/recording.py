"""How a transcript comes into being, entry by entry."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from attrs import evolve

from ptipc.conformance.verdicts import Entry, Transcript

__all__ = ["Recorder", "in_hex"]

SHOWN = 1024
"""How many octets of one message are written down; what is longer is summed up."""


def in_hex(data: bytes) -> str:
    """Octets as they stand in a transcript."""
    if len(data) <= SHOWN:
        return data.hex(" ")
    return f"{data[:16].hex(' ')} ... ({len(data)} octets)"


class Recorder:
    """Writes down what happens while a case is played."""

    def __init__(self, launch: Mapping[str, Any] | None = None) -> None:
        self.launch: dict[str, Any] = dict(launch or {})
        self.step = -1
        self._start = time.monotonic()
        self._entries: list[Entry] = []

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self._start

    def note(self, who: str, channel: str, event: str, text: str = "", *, name: str = "") -> Entry:
        """Write down that something has just happened."""
        entry = Entry(
            at=round(self.seconds, 4),
            who=who,
            channel=channel,
            text=text,
            event=event,
            name=name,
            step=self.step,
        )
        self._entries.append(entry)
        return entry

    def adopt(self, transcript: Transcript) -> None:
        """Begin with what happened to the same process before; its times are then below 0."""
        end = transcript.entries[-1].at if transcript.entries else 0.0
        self._entries += [
            evolve(entry, at=round(entry.at - end, 4)) for entry in transcript.entries
        ]
        self.launch = {**transcript.launch, **self.launch}

    def transcript(self) -> Transcript:
        """What has been written down until now."""
        return Transcript(entries=tuple(self._entries), launch=dict(self.launch))
