"""``ptipc torrc``: print the lines of a torrc for a transport."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator, Sequence

from ptipc.cli.commandline import (
    address,
    args_of,
    bridge,
    joined,
    program,
    proxy,
    refusing,
    transport,
)
from ptipc.cli.parsing import DONE, UsageError, takes_program
from ptipc.core.bridgelines import BridgeLine
from ptipc.core.codecs import UpstreamProxy
from ptipc.core.dialects import Role
from ptipc.core.escapes import Args

__all__ = ["add_arguments", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    takes_program(
        parser,
        "client|server [NAME ...] [options] [-- PROGRAM ...]",
        "the transport's executable; if not given, the usual one, if that is installed",
    )
    parser.add_argument("role", choices=[role.value for role in Role], help="what tor is")
    parser.add_argument("names", nargs="*", type=transport, metavar="NAME", help="the transports")
    client = parser.add_argument_group("of a client")
    client.add_argument(
        "--bridge",
        action="append",
        type=bridge,
        default=[],
        metavar="LINE",
        help="a bridge: NAME ADDRESS:PORT [FINGERPRINT] [KEY=VALUE ...]; may be repeated",
    )
    client.add_argument(
        "--proxy", type=proxy, metavar="URI", help="the proxy through which tor has to connect"
    )
    server = parser.add_argument_group("of a server")
    server.add_argument(
        "--listen", type=address, metavar="ADDRESS:PORT", help="where clients are waited for"
    )
    server.add_argument(
        "--option",
        action="append",
        type=args_of,
        metavar="KEY=VALUE",
        help="an option of the transport; may be repeated",
    )
    parser.add_argument(
        "--trace",
        metavar="FILE",
        help="have the conversation written down there, by ptipc trace",
    )


def main(options: argparse.Namespace) -> int:
    """Print them."""
    role = Role(options.role)
    with refusing():
        lines = list(_client(options) if role is Role.CLIENT else _server(options))
    for line in lines:
        print(line)
    return DONE


def _client(options: argparse.Namespace) -> Iterator[str]:
    if options.listen or options.option:
        raise UsageError("--listen and --option are for a server; what a client needs is --bridge")
    bridges: list[BridgeLine] = options.bridge
    named = [line.transport for line in bridges if line.transport is not None]
    names = list(dict.fromkeys([*options.names, *named]))
    yield "UseBridges 1"
    if names:
        yield f"ClientTransportPlugin {','.join(names)} {_exec(options, names, Role.CLIENT)}"
    elif not bridges:
        raise UsageError("which transport? Say NAME, or give a --bridge")
    if options.proxy is not None:
        yield from _proxy(options.proxy)
    for line in bridges:
        try:
            yield f"Bridge {line}"
        except ValueError as error:
            raise UsageError(f"a torrc cannot hold this bridge: {error}") from None
    if not bridges:
        yield f"# and a line for each bridge: Bridge {names[0]} ADDRESS:PORT FINGERPRINT KEY=VALUE"


def _server(options: argparse.Namespace) -> Iterator[str]:
    if options.bridge or options.proxy:
        raise UsageError("--bridge and --proxy are for a client")
    names: list[str] = options.names
    if not names:
        raise UsageError("which transport? Say NAME")
    if len(names) > 1 and options.listen:
        raise UsageError("several transports cannot listen at one address: leave out --listen")
    yield "BridgeRelay 1"
    yield "ORPort 127.0.0.1:auto"
    yield "AssumeReachable 1"
    yield "ExtORPort auto"
    yield f"ServerTransportPlugin {','.join(names)} {_exec(options, names, Role.SERVER)}"
    for name in names:
        if options.listen:
            yield f"ServerTransportListenAddr {name} {options.listen}"
        if options.option:
            yield f"ServerTransportOptions {name} {' '.join(_options(joined(options.option)))}"


def _options(args: Args) -> Iterator[str]:
    for key, value in args.pairs:
        yield _word(f"{key}={value}", f"the option {key}")


# --- the program ----------------------------------------------------------------------------------


def _exec(options: argparse.Namespace, names: Sequence[str], role: Role) -> str:
    words = program(options.program, names[0], role)
    words[0] = _place_of(words[0])
    if options.trace:
        words = [*_ourselves(), "trace", "-o", os.path.abspath(options.trace), "--", *words]
    return " ".join(["exec", *(_word(word, repr(word)) for word in words)])


def _place_of(command: str) -> str:
    """The whole path of a program; tor does not look for one on the PATH."""
    found = shutil.which(command)
    if found is None:
        raise UsageError(f"{command}: no such program, and a torrc needs its whole path")
    return os.path.abspath(found)


def _ourselves() -> list[str]:
    found = shutil.which("ptipc")
    return [found] if found else [sys.executable, "-m", "ptipc"]


def _word(text: str, what: str) -> str:
    # tor splits at blanks and knows no quotes there, and "#" begins a comment.
    if not text:
        raise UsageError(f"a torrc cannot hold {what}: it is empty")
    for wrong, name in ((" ", "a blank"), ("#", "a '#'"), ("\t", "a tab")):
        if wrong in text:
            raise UsageError(f"a torrc cannot hold {what}: it has {name} in it")
    if not text.isprintable():
        raise UsageError(f"a torrc cannot hold {what}: it has a character that is not printable")
    return text


# --- tor's own ------------------------------------------------------------------------------------


def _proxy(proxy: UpstreamProxy) -> Iterator[str]:
    """tor's options for an upstream proxy, which it hands on to its transports."""
    user, password = proxy.user, proxy.password
    for text in (user, password):
        if text is not None:
            _word(text, "the proxy's user name or password")
    if proxy.scheme == "http":
        yield f"HTTPSProxy {proxy.address}"
        if user is not None:
            yield f"HTTPSProxyAuthenticator {user}:{password or ''}"
    elif proxy.scheme == "socks5":
        yield f"Socks5Proxy {proxy.address}"
        if user is not None:
            if not password:
                raise UsageError("tor takes a SOCKS5 proxy's user name only with a password")
            yield f"Socks5ProxyUsername {user}"
            yield f"Socks5ProxyPassword {password}"
    else:
        if user is not None:
            raise UsageError("tor has no user name for a SOCKS4 proxy")
        yield f"Socks4Proxy {proxy.address}"
