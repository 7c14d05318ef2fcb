"""``ptipc adapter``: our own implementation behind the protocol of adapters."""

from __future__ import annotations

import argparse
import sys

from ptipc.cli.checking import version
from ptipc.conformance.adapter import Implementation, serve
from ptipc.conformance.answering import answer
from ptipc.conformance.operations import operation_names

__all__ = ["add_arguments", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes: nothing."""


def main(options: argparse.Namespace) -> int:
    """Answer until the tester is done."""
    implementation = Implementation(
        name="ptipc",
        version=version(),
        language="python",
        ops=tuple(operation_names()),
    )
    sys.stdin.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")  # type: ignore[union-attr]

    def say(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    serve(implementation, answer, sys.stdin, say)
    return 0
