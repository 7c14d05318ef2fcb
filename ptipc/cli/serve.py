"""``ptipc serve``: be the main program of a transport that has none."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import inspect
import os
import sys
import typing
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ptipc import program
from ptipc.program import Duty
from ptipc.voice import Outlet

if typing.TYPE_CHECKING:
    from ptipc.core.config import Config

__all__ = ["add_arguments", "main"]

LAYERS = ("ptipc.aio", "ptipc.blocking")
"""What can serve a transport."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "transport",
        metavar="MODULE:OBJECT",
        help="a transport of ptipc.aio or of ptipc.blocking, several of one of them, or a class or "
        "function that makes either; MODULE is the name of a module or the path of a file",
    )
    parser.add_argument(
        "flags",
        nargs=argparse.REMAINDER,
        metavar="FLAG ...",
        help="what a host of PT 2.0 to 3.0 says",
    )


def main(options: argparse.Namespace) -> int:
    """Serve until the host is done."""
    return program.main(
        lambda: load(options.transport),
        [options.transport.rpartition(":")[2]],
        dispatcher,
        serve,
        command=["ptipc", "serve", options.transport],
        argv=options.flags,
    )


# --- by its own layer -----------------------------------------------------------------------------


def dispatcher(config: Config, transports: Sequence[Any], outlet: Outlet) -> Duty:
    """What serves transports that ``load`` has found."""
    # Only that layer is imported: a user waits for us.
    layer: Any = importlib.import_module(layer_of(transports[0]) if transports else LAYERS[0])
    duty: Duty = layer.Dispatcher(config, transports, outlet)
    return duty


def serve(duty: Any) -> int:
    """Serve by a dispatcher of either layer; returns the exit status."""
    served: Any = duty.serve()
    if inspect.iscoroutine(served):
        import asyncio

        served = asyncio.run(served)
    status: int = served
    return status


def layer_of(transport: Any) -> str:
    """Which layer a transport is for.

    That shows in what it says that its methods return, whose own methods are coroutines or not; if
    it does not say, in what its module uses.  Raises TypeError.
    """
    kinds = {inspect.iscoroutinefunction(method) for method in _promised(transport)}
    layers = {LAYERS[0] if kind else LAYERS[1] for kind in kinds} or _used(transport)
    if len(layers) != 1:
        raise TypeError(
            f"not to be seen whether it is for {' or for '.join(LAYERS)}: "
            f"annotate what its method dialer returns: {transport!r}"
        )
    return layers.pop()


def _promised(transport: Any) -> Iterator[object]:
    """The methods by which a transport's dialers and listeners are used, as far as it tells."""
    for maker in (transport.dialer, transport.listener):
        try:
            made = typing.get_type_hints(maker).get("return")
        except Exception:  # names that are there for type checkers only
            made = None
        for name in ("dial", "dial_datagrams", "listen", "listen_datagrams"):
            if hasattr(made, name):
                yield getattr(made, name)


def _used(transport: Any) -> set[str]:
    """The layers that the module of a transport has anything of."""
    module = sys.modules[type(transport).__module__]
    origins = {
        str(getattr(value, "__name__" if inspect.ismodule(value) else "__module__", ""))
        for value in (module, *vars(module).values())
    }
    return {
        layer
        for layer in LAYERS
        if any(origin == layer or origin.startswith(f"{layer}.") for origin in origins)
    }


# --- what is served -------------------------------------------------------------------------------


def load(place: str) -> Sequence[Any]:
    """The transports of ``MODULE:OBJECT``; raises whatever the module does."""
    module, colon, name = place.rpartition(":")
    if not colon:
        raise ValueError(f"not MODULE:OBJECT: {place!r}")
    found: Any = _module(module)
    for part in name.split("."):
        found = getattr(found, part)
    if inspect.isclass(found) or (callable(found) and not _is_transport(found)):
        found = found()
    several = isinstance(found, Iterable) and not _is_transport(found)
    transports = list(found) if several else [found]
    for transport in transports:
        if not _is_transport(transport):
            raise TypeError(f"{place}: not a transport: {transport!r}")
    layers = {layer_of(transport) for transport in transports}
    if len(layers) > 1:
        raise TypeError(f"{place}: transports for {' and for '.join(sorted(layers))}")
    return transports


def _is_transport(found: object) -> bool:
    """Whether something has the shape of a transport, of whichever layer."""
    return all(hasattr(found, name) for name in ("name", "dialer", "listener"))


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
