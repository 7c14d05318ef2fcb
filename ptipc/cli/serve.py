"""``ptipc serve``: be the main program of a transport that has none."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ptipc.aio.program import run_loaded
from ptipc.aio.transport import Transport

__all__ = ["add_arguments", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "transport",
        metavar="MODULE:OBJECT",
        help="a transport, several of them, or a function that returns either; MODULE is the name "
        "of a module or the path of a file",
    )
    parser.add_argument(
        "flags",
        nargs=argparse.REMAINDER,
        metavar="FLAG ...",
        help="what a host of PT 2.0 to 3.0 says",
    )


def main(options: argparse.Namespace) -> int:
    """Serve until the host is done."""
    return run_loaded(
        lambda: load(options.transport),
        [options.transport.rpartition(":")[2]],
        command=["ptipc", "serve", options.transport],
        argv=options.flags,
    )


def load(place: str) -> Sequence[Transport]:
    """The transports of ``MODULE:OBJECT``; raises whatever the module does."""
    module, colon, name = place.rpartition(":")
    if not colon:
        raise ValueError(f"not MODULE:OBJECT: {place!r}")
    found: Any = _module(module)
    for part in name.split("."):
        found = getattr(found, part)
    if not isinstance(found, Transport | Iterable):
        found = found()
    transports = list(found) if isinstance(found, Iterable) else [found]
    for transport in transports:
        if not isinstance(transport, Transport):
            raise TypeError(f"{place}: not a transport: {transport!r}")
    return transports


def _module(name: str) -> ModuleType:
    if not name.endswith(".py"):
        # Of the directory where we are, as with "python -m".
        sys.path.insert(0, os.getcwd())
        return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(Path(name).stem, name)
    if spec is None or spec.loader is None:
        raise ImportError(f"not a module: {name!r}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
