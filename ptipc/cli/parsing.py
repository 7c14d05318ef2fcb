"""How command lines are read, and what commands return.

Nothing here costs time: a command that a program waits for begins here, too.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any, NoReturn

__all__ = [
    "DONE",
    "FAILED",
    "INTERRUPTED",
    "NOT_STARTED",
    "USAGE",
    "Parser",
    "UsageError",
    "takes_program",
]

DONE, FAILED, USAGE, NOT_STARTED, INTERRUPTED = 0, 1, 2, 3, 130
"""The exit statuses of the commands."""


class UsageError(Exception):
    """The command line makes no sense; the text says why."""


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one sentence.

    If it ``takes_program`` it leaves alone what is behind ``--``, which becomes ``program``.
    """

    takes_program = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        words = list(sys.argv[1:] if args is None else args)
        if not self.takes_program:
            return super().parse_known_args(words, namespace)
        at = words.index("--") if "--" in words else len(words)
        options, rest = super().parse_known_args(words[:at], namespace)
        if rest and at == len(words):
            self.error(f"{rest[0]}: the program of a transport has its place behind --")
        options.program = words[at + 1 :]
        return options, rest

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: {message}\nTry '{self.prog} --help'.\n")


def takes_program(parser: argparse.ArgumentParser, words: str, what: str) -> None:
    """Have a parser take the command of a program behind ``--``.

    ``words`` stand in the usage behind the name of the command, ``what`` says what the program is.
    """
    assert isinstance(parser, Parser)
    parser.takes_program = True
    parser.set_defaults(parser=parser)
    parser.usage = f"{parser.prog} {words}"
    parser.add_argument_group("-- PROGRAM [ARGUMENT ...]", what)
