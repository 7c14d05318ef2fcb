"""The entry point: ``ptipc COMMAND``."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Protocol, cast

__all__ = ["main"]

COMMANDS = {
    "demo": "launch a transport as server and as client, and watch the conversation",
    "serve": "be the main program of a transport, for a host to launch",
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
    parser = argparse.ArgumentParser(
        prog="ptipc", description="Pluggable Transport IPC, both sides, every edition."
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(title="commands", dest="chosen", metavar="COMMAND")
    for name, what in COMMANDS.items():
        # Only the command that is asked for is imported.
        chosen = commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")
        if name in words[:1]:
            _command(name).add_arguments(chosen)
    options = parser.parse_args(words)
    if options.version:
        print(f"ptipc {_version()}")
        return 0
    if options.chosen is None:
        parser.print_help()
        return 2
    try:
        return _command(options.chosen).main(options)
    except KeyboardInterrupt:
        return 130


def _version() -> str:
    try:
        return metadata.version("ptipc")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _command(name: str) -> Command:
    return cast(Command, importlib.import_module(f"ptipc.cli.{name}"))
