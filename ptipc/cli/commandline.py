"""What the command lines of several commands have in common: types, settings, programs.

The types are functions for ``argparse``, which say in a sentence what is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import ptipc
from ptipc.cli.parsing import UsageError
from ptipc.core.bridgelines import BridgeLine
from ptipc.core.codecs import ADDRESS, HOST, MODE, NAME, PROXY, TARGET, Address, Codec
from ptipc.core.dialects import DIALECTS, Dialect, Role, dialect_for
from ptipc.core.errors import LocalProtocolError
from ptipc.core.escapes import ARGS, Args
from ptipc.core.launch import LaunchSettings

__all__ = [
    "add_process_arguments",
    "add_server_arguments",
    "address",
    "address_to_listen_at",
    "args_of",
    "bridge",
    "edition",
    "example",
    "joined",
    "mode",
    "positive",
    "process_settings",
    "program",
    "proxy",
    "public",
    "refusing",
    "seconds",
    "state_directory",
    "target",
    "the_server",
    "transport",
]

T = TypeVar("T")


# --- types ----------------------------------------------------------------------------------------


def _parsed(codec: Codec[T] | Callable[[str], T]) -> Callable[[str], T]:
    parse = codec.parse if isinstance(codec, Codec) else codec

    def read(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


address = _parsed(ADDRESS)
target = _parsed(TARGET)
bridge = _parsed(BridgeLine.parse)
args_of = _parsed(ARGS)
mode = _parsed(MODE)
proxy = _parsed(PROXY)


def transport(text: str) -> str:
    """The name of a transport."""
    return _parsed(NAME.emit)(text)


def address_to_listen_at(host: str) -> Callable[[str], Address]:
    """The type of an address to listen at, of which the host may be left out."""

    def read(text: str) -> Address:
        return address(f"{host}:{text}" if text.isdecimal() else text)

    return read


def public(text: str) -> Address:
    """Where clients reach a server, ``HOST[:PORT]``; port 0: the one where it listens."""
    alone = text.count(":") != 1 and "]:" not in text  # then colons are those of IPv6
    return Address(_parsed(HOST)(text), 0) if alone else target(text)


def edition(text: str) -> Dialect:
    """An edition of the specification."""
    found = dialect_for(text)
    if found is None:
        known = ", ".join(each.version for each in DIALECTS)
        raise argparse.ArgumentTypeError(f"not an edition ({known}): {text!r}")
    return found


def seconds(text: str) -> float:
    """A time in seconds, more than none."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < 1e9:
        raise argparse.ArgumentTypeError(f"not a number of seconds above 0: {text!r}")
    return found


def positive(text: str) -> int:
    """A number from 1 on."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"not a number from 1 on: {text!r}")
    return int(text)


def joined(args: Sequence[Args] | None) -> Args:
    """All the args, of a flag that may be repeated."""
    return Args([pair for each in args or () for pair in each.pairs])


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """Take what cannot be said to a transport process for an error of the command line."""
    try:
        yield
    except LocalProtocolError as error:
        raise UsageError(str(error)) from None


# --- the server of a transport --------------------------------------------------------------------


def add_server_arguments(group: argparse._ActionsContainer, where: str = "where it is") -> None:
    """Declare how a client is told where its server is."""
    group.add_argument("--to", type=target, metavar="ADDRESS:PORT", help=where)
    group.add_argument(
        "--args",
        action="append",
        type=args_of,
        metavar="KEY=VALUE",
        help="what it asks of its clients; may be repeated, or be several, with ';' between them",
    )
    group.add_argument(
        "--bridge",
        type=bridge,
        metavar="LINE",
        help="all of that as one line: NAME ADDRESS:PORT [FINGERPRINT] [KEY=VALUE ...]",
    )


def the_server(options: argparse.Namespace, name: str | None) -> tuple[str, Address | None, Args]:
    """The transport, where its server is, if that was said, and what it asks for.

    ``name`` is the transport's if it was named.  Raises UsageError.
    """
    line: BridgeLine | None = options.bridge
    if line is None:
        if name is None:
            raise UsageError("which transport? Say NAME, or give the --bridge line of the server")
        return name, options.to, joined(options.args)
    if options.to or options.args:
        raise UsageError("a --bridge line says it all: leave out --to and --args")
    if line.transport is None:
        raise UsageError("the --bridge line names no transport, so none is needed")
    if name not in (None, line.transport):
        raise UsageError(f"the --bridge line is for {line.transport}, not for {name}")
    return line.transport, line.address, line.args


# --- what a process is told -----------------------------------------------------------------------


def add_process_arguments(group: argparse._ActionsContainer, *, client: bool, state: str) -> None:
    """Declare what a transport process can be told; ``state`` is the default directory."""
    known = ", ".join(each.version for each in DIALECTS)
    group.add_argument(
        "--dialect",
        metavar="VERSION",
        type=edition,
        help=f"the edition to speak: {known} (default: 1, as tor does)",
    )
    group.add_argument(
        "--option",
        metavar="KEY=VALUE",
        action="append",
        type=args_of,
        help="an option of the transport; may be repeated, or be several, with ';' between them",
    )
    group.add_argument(
        "--state", metavar="DIRECTORY", help=f"where the process keeps its files (default: {state})"
    )
    if client:
        group.add_argument(
            "--proxy",
            metavar="URI",
            type=proxy,
            help="the upstream proxy, for example socks5://127.0.0.1:9050",
        )


def process_settings(options: argparse.Namespace, names: Sequence[str]) -> LaunchSettings:
    """What was given of ``add_process_arguments``."""
    settings = LaunchSettings(dialect=options.dialect)
    if given := joined(options.option):
        settings["options"] = dict.fromkeys(names, given)
    if options.state is not None:
        settings["state"] = options.state
    if getattr(options, "proxy", None) is not None:
        settings["proxy"] = options.proxy
    return settings


def state_directory(name: str) -> str:
    """The lasting directory for the files of a transport of that name, of this user."""
    given = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_STATE_HOME", "")
    # "All paths set in these environment variables must be absolute.  If [...] a relative path
    # [...] ignore it" (XDG Base Directory Specification).
    home = Path(given) if os.path.isabs(given) else Path.home() / ".local" / "state"
    return str(home / "ptipc" / name)


# --- programs -------------------------------------------------------------------------------------

_LYREBIRD = ("lyrebird", "obfs4proxy")
_PROGRAMS: Mapping[str, Mapping[Role, Sequence[str]]] = {
    **{
        name: {Role.CLIENT: _LYREBIRD, Role.SERVER: _LYREBIRD}
        for name in ("obfs4", "obfs3", "obfs2", "scramblesuit")
    },
    "meek_lite": {Role.CLIENT: _LYREBIRD},
    "webtunnel": {
        Role.CLIENT: ("lyrebird", "webtunnel-client"),
        Role.SERVER: ("webtunnel-server",),
    },
    "snowflake": {Role.CLIENT: ("snowflake-client",), Role.SERVER: ("snowflake-server",)},
}
"""The usual programs of well-known transports."""


def program(given: Sequence[str], name: str, role: Role) -> list[str]:
    """The command of a transport: what was given, or else its usual program if that is here.

    Raises UsageError if there is none.
    """
    if given:
        return list(given)
    if name == "hello":
        return [sys.executable, str(example("hello"))]
    usual = _PROGRAMS.get(name, {}).get(role, ())
    for each in usual:
        if shutil.which(each):
            return [each]
    if usual:
        raise UsageError(f"no {' or '.join(usual)} on the PATH: give the program behind --")
    raise UsageError(f"which program is the {role.value} of {name}? Give it behind --")


def example(name: str) -> Path:
    """The file of an example, in an installed package or in a checkout."""
    package = Path(ptipc.__file__).parent
    for directory in (package / "examples", package.parent / "examples"):
        if (path := directory / f"{name}.py").exists():
            return path
    raise UsageError(f"the example {name!r} is not installed")
