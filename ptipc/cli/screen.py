"""What a person sees while a command runs: lines, and on a terminal one more below them.

In a pipe there are plain lines only.  On a terminal the last line is a status that is written over
again and again, by ``rich`` if that is installed and by the usual escape sequences if not.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from typing import Any, Literal, TextIO, TypeAlias

__all__ = ["Screen", "Tone", "open_screen"]

Tone: TypeAlias = Literal["plain", "faint", "good", "bad"]
"""How a line is meant, for those who can show it."""


_CODES: dict[Tone, str] = {"plain": "", "faint": "2", "good": "32", "bad": "31"}
_STYLES: dict[Tone, str] = {"plain": "", "faint": "dim", "good": "green", "bad": "red"}


class Screen:
    """Lines of text in a pipe or in a file.  Use as a context manager."""

    live = False
    """Whether there is a status to be shown."""

    def __init__(self, out: TextIO) -> None:
        self.out = out

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *exc: object) -> None:
        self.status("")

    def line(self, text: str = "", tone: Tone = "plain") -> None:
        """Show a line."""
        self._write(f"{text}\n")

    def status(self, text: str) -> None:
        """Show this below the lines, in place of what was there before."""

    def _write(self, text: str) -> None:
        try:
            self.out.write(text)
            self.out.flush()
        except BrokenPipeError:
            # Nobody reads any more, which is no reason to end; nor shall Python complain at exit.
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self.out.fileno())


class _Terminal(Screen):
    """A terminal that knows the usual escape sequences."""

    live = True

    def __init__(self, out: TextIO, *, colour: bool) -> None:
        super().__init__(out)
        self._colour = colour
        self._status = ""

    def line(self, text: str = "", tone: Tone = "plain") -> None:
        code = _CODES[tone] if self._colour else ""
        shown = f"\x1b[{code}m{text}\x1b[m" if code and text else text
        clear = "\r\x1b[K" if self._status else ""
        self._write(f"{clear}{shown}\n{self._status}")

    def status(self, text: str) -> None:
        shown = text[: shutil.get_terminal_size().columns - 1]
        if shown != self._status:
            self._status = shown
            self._write(f"\r\x1b[K{shown}")


class _Rich(Screen):
    """A terminal, through ``rich``."""

    live = True

    def __init__(self, out: TextIO, rich: Any) -> None:
        super().__init__(out)
        self._console, self._text, self._live = rich(out)
        self._status = ""

    def __enter__(self) -> Screen:
        self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.status("")
        self._live.stop()

    def line(self, text: str = "", tone: Tone = "plain") -> None:
        self._console.print(self._text(text, style=_STYLES[tone]), soft_wrap=True)

    def status(self, text: str) -> None:
        if text != self._status:
            self._status = text
            shown = self._text(text, style="bold", no_wrap=True, overflow="ellipsis")
            self._live.update(shown, refresh=True)


def _rich(out: TextIO) -> tuple[Any, Any, Any]:
    """What is needed of ``rich``.  Raises ImportError if it is not installed."""
    from rich.console import Console  # type: ignore[import-not-found, unused-ignore]
    from rich.live import Live  # type: ignore[import-not-found, unused-ignore]
    from rich.text import Text  # type: ignore[import-not-found, unused-ignore]

    console = Console(file=out, highlight=False)
    live = Live(
        Text(""),
        console=console,
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    return console, Text, live


def open_screen(out: TextIO | None = None) -> Screen:
    """The best screen for an output: standard output if not given."""
    out = sys.stdout if out is None else out
    if not out.isatty() or os.environ.get("TERM", "") == "dumb":
        return Screen(out)
    try:
        return _Rich(out, _rich)
    except ImportError:
        return _Terminal(out, colour=not os.environ.get("NO_COLOR"))
