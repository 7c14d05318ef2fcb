"""The entry point: ``ptipc COMMAND``."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Protocol, cast

from ptipc.cli.parsing import INTERRUPTED, USAGE, Parser, UsageError

__all__ = ["main"]

COMMANDS = {
    "tunnel": "a local port to a fixed destination, through any transport, at either end",
    "run": "be the host of a transport, and watch the conversation",
    "probe": "find out whether bridges work, by connecting to them through their transports",
    "trace": "stand between a host and a transport, and write their conversation to a file",
    "env": "print what a host would set for a transport",
    "torrc": "print what a torrc needs for a transport",
    "check": "judge whether a program keeps the rules of the protocol",
    "demo": "launch a transport as server and as client, and watch the conversation",
    "serve": "be the main program of a transport, for a host to launch",
    "report": "make a page, a summary or a badge from what ptipc check wrote",
    "fixtures": "the protocol by example, in files for the tests of any program",
    "adapter": "be ptipc, as the tester of implementations in any language asks it",
}
"""The commands, each a module of this package, with what it does."""


class Command(Protocol):
    """What the module of a command offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare what the command takes."""
        ...

    def main(self, options: argparse.Namespace) -> int:
        """Do it, and return the exit status."""
        ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; 2 for a wrong command line."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = Parser(prog="ptipc", description="Pluggable Transport IPC, both sides, every edition.")
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(title="commands", dest="chosen", metavar="COMMAND")
    parsers = {}
    for name, what in COMMANDS.items():
        description = f"{what[0].upper()}{what[1:]}."
        parsers[name] = commands.add_parser(name, help=what, description=description)
        # Only the command that is asked for is imported.
        if name in words[:1]:
            _command(name).add_arguments(parsers[name])
    options = parser.parse_args(words)
    if options.version:
        print(f"ptipc {_version()}")
        return 0
    if options.chosen is None:
        parser.print_help()
        return USAGE
    try:
        return _command(options.chosen).main(options)
    except UsageError as error:
        mistaken: Parser = getattr(options, "parser", parsers[options.chosen])
        mistaken.error(str(error))
    except KeyboardInterrupt:
        return INTERRUPTED


def _version() -> str:
    from importlib import metadata  # slow to import

    try:
        return metadata.version("ptipc")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _command(name: str) -> Command:
    return cast(Command, importlib.import_module(f"ptipc.cli.{name}"))
