"""``ptipc.aio`` and ``ptipc.blocking`` are twins: same names, same shapes, same first lines.

``async`` and ``await`` are the difference; every other one stands in a table here, with its reason.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Container, Iterator
from pathlib import Path
from types import ModuleType

import pytest

import ptipc.aio
import ptipc.blocking

AIO = Path(ptipc.aio.__path__[0])
BLOCKING = Path(ptipc.blocking.__path__[0])

# --- what differs, and why ------------------------------------------------------------------------

DATAGRAMS = "threads carry streams only: the UDP modes need what an event loop has"
ENGINE = "the engine is what makes an event loop fast; the kernel does that for threads"
WITHIN = "asyncio.timeout is a deadline for anything; threads need one that the stream knows"
OWN_THREAD = "whoever relays has a thread for it already"
ASYNCIO = "asyncio's own readers and writers"
RACE = "threads close what others are using"
DEAR = "a thread costs more than a task, so that there are to be fewer"

LEFT_OUT = {
    "DatagramDialer": DATAGRAMS,
    "DatagramListener": DATAGRAMS,
    "DatagramTransport": DATAGRAMS,
    "DatagramTransportListener": DATAGRAMS,
    "Datagrams": DATAGRAMS,
    "FramedDatagrams": DATAGRAMS,
    "Network.datagrams": DATAGRAMS,
    "Network.listen_datagrams": DATAGRAMS,
    "SystemNetwork.datagrams": DATAGRAMS,
    "SystemNetwork.listen_datagrams": DATAGRAMS,
    "PortDialer.dial_datagrams": DATAGRAMS,
    "InProcessDialer.dial_datagrams": DATAGRAMS,
    "Limits.idle": DATAGRAMS,
    "Limits.datagram_connections": DATAGRAMS,
    "Service.carries_datagrams": DATAGRAMS,
    "PortDialer.open_connection": ASYNCIO,
    "DialsByName.open_connection": ASYNCIO,
    "Relaying": OWN_THREAD,
    "start_relay": OWN_THREAD,
    "Connections.relay": OWN_THREAD,
    "uninterrupted": "a thread is not cancelled",
}
"""What only ``ptipc.aio`` has."""

ADDED = {
    "within": WITHIN,
    "SocketStream.deadline": WITHIN,
    "MappedStream.deadline": WITHIN,
    "Events.timeout": WITHIN,
    "Scope": "a task is cancelled; what a thread has connected has to be closed to wake it",
    "SocketStream.connect": "an event loop connects sockets, here each does that itself",
    "SocketStream.keep_open": RACE,
    "SocketStream.wait": "see ptipc.blocking.relaying",
    "Guests": "handshakes have threads, which need an owner",
    "join": "threads need to be joined",
    "Connections.run": "a thread that is there already goes on, where a task would be started",
    "Connections.hurry": "a signal handler may not do more",
    "Service.run": "see Connections.run",
    "Work": "see Scope",
    "Limits.connections": DEAR,
    "Dispatcher.announce": "each transport is started in a thread",
    "Dispatcher.tell": "each transport is started in a thread",
}
"""What only ``ptipc.blocking`` has."""

OTHER_SHAPES = {
    "Connections": DEAR,
    "Connections.cancel": "its owner has to wait for the threads",
    "Connections.start": "closes the stream that it is about, and gives a scope",
    "DialsByName.dial_socket": "a socket of a thread blocks",
    "Events": WITHIN,
    "Hearers.listen": WITHIN,
    "ExtOrPortServer": DEAR,
    "Limits": "no UDP modes, but a cap on connections",
    "PortDialer": "the port is to be found in time",
    "PortDialer.dial_socket": "a socket of a thread blocks",
    "Service.dial": "see Scope",
    "Service.start": "see Connections.start",
    "Supervisor.events": WITHIN,
    "StreamTransport": DEAR,
    "serve_handshakes": DEAR,
    "wrap_listener": DEAR,
    "TransportProcess.events": WITHIN,
}
"""Whose parameters differ in more than ``async``."""

OTHER_WORDS = {
    "Connections.start": "it is a thread",
    "Dispatcher.start_thread": "an event loop is not needed for it",
}
"""Whose first lines differ."""

NO_TWIN = {
    "datagrams": DATAGRAMS,
    "udp": DATAGRAMS,
    "engine": ENGINE,
    "sharing": RACE,
}
"""Modules that only one of the two has."""

NO_LIKENESS = {"relaying": ENGINE}
"""Modules that have the name only: they do the same in ways of their own."""

SPELLINGS = {
    "aclose": "close",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
}
"""What is called otherwise."""


# --- how they are compared ------------------------------------------------------------------------


def rooms(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.py")} - {"__init__"}


def in_blocking(name: str) -> str:
    first, dot, second = name.partition(".")
    return first + dot + SPELLINGS.get(second, second)


def members(module: ModuleType, but: Container[str]) -> Iterator[tuple[str, object]]:
    """The public names of a module, and those in its classes."""
    for name in module.__all__:
        value = getattr(module, name)
        yield name, value
        if name not in but and getattr(value, "__module__", None) == module.__name__:
            for inner, member in vars(value).items():
                if not inner.startswith("_") or inner in SPELLINGS or inner in SPELLINGS.values():
                    yield f"{name}.{inner}", member


def shape(value: object) -> list[str]:
    """The parameters of something that can be called, and what it gives."""
    if isinstance(value, property):
        return ["a property", *shape(value.fget)[1:]]
    if isinstance(value, classmethod):
        value = value.__func__
    if not callable(value) or getattr(value, "__origin__", None) is not None:
        return []  # a constant, or an alias
    signature = inspect.signature(value)
    return [
        *(in_words(parameter) for parameter in signature.parameters.values()),
        sync(str(signature.return_annotation)),
    ]


def in_words(parameter: inspect.Parameter) -> str:
    default = parameter.default
    given = repr(default) if isinstance(default, (str, float, int, type(None))) else "other"
    if default is parameter.empty:
        given = "has to be given"
    return (
        f"{parameter.kind.description} {parameter.name}: {sync(str(parameter.annotation))}, {given}"
    )


def sync(annotation: str) -> str:
    """An annotation as it is where nothing is awaited."""
    text = annotation.replace("ptipc.aio", "ptipc.blocking").replace("AsyncIterator", "Iterator")
    text = re.sub(r"Awaitable\[((?:[^][]|\[[^][]*\])*)\]", r"\1", text)
    text = text.replace("Transport | DatagramTransport", "Transport")
    return text.replace("bool | bool", "bool").strip("'")


def first_line(value: object) -> str:
    text = inspect.getdoc(value.fget if isinstance(value, property) else value) or ""
    line = text.partition("\n")[0].replace("async ", "").replace("aclose", "close")
    return line.replace("asynchronous ", "")


PAIRS = sorted((rooms(AIO) & rooms(BLOCKING)) - set(NO_LIKENESS))


def twins(room: str) -> tuple[dict[str, object], dict[str, object]]:
    """The names of both, as they are called in ``ptipc.blocking``."""
    one, other = (importlib.import_module(f"ptipc.{layer}.{room}") for layer in ("aio", "blocking"))
    aio = {in_blocking(name): value for name, value in members(one, LEFT_OUT)}
    blocking = dict(members(other, ADDED))
    # What both have from elsewhere cannot differ.
    shared = {name for name, value in aio.items() if blocking.get(name) is value}
    return (
        {name: value for name, value in aio.items() if name not in shared},
        {name: value for name, value in blocking.items() if name not in shared},
    )


def test_both_have_the_same_rooms() -> None:
    assert rooms(AIO) ^ rooms(BLOCKING) == set(NO_TWIN)


def test_both_doors_show_the_same() -> None:
    aio, blocking = set(ptipc.aio.__all__), set(ptipc.blocking.__all__)
    assert aio - blocking <= set(LEFT_OUT)
    assert blocking - aio <= set(ADDED)


@pytest.mark.parametrize("room", PAIRS)
def test_both_have_the_same_names(room: str) -> None:
    aio, blocking = twins(room)
    assert set(aio) - set(blocking) - set(LEFT_OUT) == set()
    assert set(blocking) - set(aio) - set(ADDED) == set()


@pytest.mark.parametrize("room", PAIRS)
def test_both_have_the_same_shapes(room: str) -> None:
    aio, blocking = twins(room)
    differ = {
        name for name in set(aio) & set(blocking) if shape(aio[name]) != shape(blocking[name])
    }
    assert differ - set(OTHER_SHAPES) == set()


@pytest.mark.parametrize("room", PAIRS)
def test_both_say_the_same_of_themselves(room: str) -> None:
    aio, blocking = twins(room)
    differ = {
        name
        for name in set(aio) & set(blocking)
        if first_line(aio[name]) != first_line(blocking[name])
    }
    assert differ - set(OTHER_WORDS) == set()


def test_no_exception_is_out_of_date() -> None:
    """What has become alike is to be taken off the lists."""
    names: dict[str, set[str]] = {"aio": set(), "blocking": set()}
    unlike: set[str] = set()
    reworded: set[str] = set()
    for room in PAIRS:
        aio, blocking = twins(room)
        names["aio"] |= set(aio)
        names["blocking"] |= set(blocking)
        for name in set(aio) & set(blocking):
            if shape(aio[name]) != shape(blocking[name]):
                unlike.add(name)
            if first_line(aio[name]) != first_line(blocking[name]):
                reworded.add(name)
    only_aio = names["aio"] - names["blocking"] | set(ptipc.aio.__all__) - names["blocking"]
    assert set(LEFT_OUT) - only_aio == set()
    assert set(ADDED) - (names["blocking"] - names["aio"]) == set()
    assert set(OTHER_SHAPES) - unlike == set()
    assert set(OTHER_WORDS) - reworded == set()


# --- what is not there ----------------------------------------------------------------------------


@pytest.mark.parametrize("room", sorted(rooms(BLOCKING)))
def test_blocking_never_awaits(room: str) -> None:
    tree = ast.parse((BLOCKING / f"{room}.py").read_text("utf-8"))
    awaiting = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    assert not [node for node in ast.walk(tree) if isinstance(node, awaiting)]
