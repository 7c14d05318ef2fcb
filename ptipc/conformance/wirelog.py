"""A transcript for people: who did what and when, octets in hexadecimal and as characters."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from ptipc.conformance.runs import visible
from ptipc.conformance.verdicts import Entry, Transcript

__all__ = ["is_octets", "lines", "shown", "started_with", "what"]

OCTETS = re.compile(r"[0-9a-f]{2}(?: [0-9a-f]{2})*")
SHORTENED = re.compile(r"(.*?)( \.\.\. \(\d+ octets\))")
"""How a recorder sums up what is long."""
CONNECTIONS = ("port", "target", "proxy", "extorport")
"""The channels that carry octets."""
ROW = 16


def _octets(entry: Entry) -> tuple[bytes, str] | None:
    """The octets of an entry, and what is said behind them; None if its text is no octets."""
    if entry.channel not in CONNECTIONS:
        return None
    text, rest = entry.text, ""
    if shortened := SHORTENED.fullmatch(text):
        text, rest = shortened.groups()
    return (bytes.fromhex(text), rest) if OCTETS.fullmatch(text) else None


def is_octets(entry: Entry) -> bool:
    """Whether an entry says octets, and not words."""
    return _octets(entry) is not None


def shown(entry: Entry) -> list[str]:
    """The text of an entry, line by line; octets sixteen to a line, with their characters."""
    found = _octets(entry)
    if found is None:
        return visible(entry.text).split("\n") if entry.text else []
    data, rest = found
    width = max(min(len(data), ROW), 4) * 3 - 1
    rows = []
    for start in range(0, len(data), ROW):
        row = data[start : start + ROW]
        text = "".join(chr(octet) if 0x20 <= octet < 0x7F else "." for octet in row)
        offset = f"{start:04x}  " if len(data) > ROW else ""
        rows.append(f"{offset}{row.hex(' '):<{width}}  {text}")
    return [*rows, rest.strip()] if rest else rows


def what(entry: Entry) -> str:
    """What an entry is about: the channel, which connection of it, and what happened."""
    return " ".join(filter(None, (entry.channel, entry.name, entry.event)))


def started_with(launch: Mapping[str, Any]) -> list[str]:
    """What was typed to start the program, as for a shell; nothing if that is not known."""
    words = [str(word) for key in ("command", "argv") for word in launch.get(key, ())]
    if not words:
        return []
    variables = {**launch.get("extra", {}), **launch.get("set", {})}
    lines = [f"{name}={shlex.quote(str(value))}" for name, value in sorted(variables.items())]
    lines.append(shlex.join(words))
    return [f"{visible(line)} \\" for line in lines[:-1]] + [visible(lines[-1])]


def lines(transcript: Transcript) -> Iterator[str]:
    """The whole log as plain text."""
    for line in started_with(transcript.launch):
        yield f"$ {line}"
    for entry in transcript.entries:
        first, *others = shown(entry) or [""]
        head = f"{entry.at:9.4f}  {entry.who:<6}  {what(entry):<22}"
        yield f"{head}  {first}".rstrip()
        for other in others:
            yield f"{'':41}  {other}".rstrip()
