"""``ptipc env``: print what a host would set for a transport process, to start one by hand."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Iterator

from ptipc.cli.commandline import (
    add_process_arguments,
    address,
    mode,
    process_settings,
    refusing,
    state_directory,
    target,
    transport,
)
from ptipc.cli.parsing import DONE, UsageError
from ptipc.core.config import Config, Invocation
from ptipc.core.dialects import PT1, Role
from ptipc.core.launch import launch_config
from ptipc.core.parameters import is_ours
from ptipc.core.settings import Channel

__all__ = ["add_arguments", "main"]

_EXAMPLE = """\
example:
  eval "$(ptipc env client obfs4)" && obfs4proxy
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EXAMPLE
    parser.add_argument("role", choices=[role.value for role in Role], help="what the process is")
    parser.add_argument(
        "names", nargs="+", type=transport, metavar="NAME", help="the transports to ask for"
    )
    printed = parser.add_argument_group("what is printed")
    shape = printed.add_mutually_exclusive_group()
    shape.add_argument(
        "--json",
        action="store_true",
        help="all of it as JSON, in the way that is usual in the edition",
    )
    shape.add_argument(
        "--flags",
        action="store_true",
        help="the flags, to stand behind the program: from PT 2.0 on, and usual from 2.2 on",
    )
    process = parser.add_argument_group("the process")
    add_process_arguments(process, client=True, state="one for each NAME, of this user, that stays")
    process.add_argument(
        "--to",
        type=target,
        metavar="ADDRESS:PORT",
        help="of a server: where it leads its clients to",
    )
    process.add_argument(
        "--listen",
        type=address,
        metavar="ADDRESS:PORT",
        help="where it listens: a server, or from PT 2.2 on a client",
    )
    process.add_argument(
        "--mode", type=mode, metavar="MODE", help="from PT 2.2 on: transparent-UDP, for example"
    )
    process.add_argument(
        "--ignore-stdin",
        action="store_true",
        help="do not have it end when its standard input does",
    )


def main(options: argparse.Namespace) -> int:
    """Print it."""
    if options.role == "server" and options.to is None:
        raise UsageError("where does the server lead its clients to? Say --to ADDRESS:PORT")
    with refusing():
        invocation = _config(options).to_process(_channel(options))
    inherited = sorted(name for name in os.environ if is_ours(name) and name not in invocation.set)
    if options.json:
        found = {"unset": inherited, "set": dict(invocation.set), "argv": list(invocation.argv)}
        print(json.dumps(found, indent=2))
    elif options.flags:
        print(shlex.join(invocation.argv))
        for line in _variables(invocation):
            print(f"ptipc env: and {line}", file=sys.stderr)
    else:
        for name in inherited:
            print(f"unset {name}")
        for line in _variables(invocation):
            print(line)
        if invocation.argv:
            print(f"# and behind the program: {shlex.join(invocation.argv)}")
    return DONE


def _channel(options: argparse.Namespace) -> Channel | None:
    dialect = options.dialect or PT1
    if options.json:
        return None  # as is usual in the edition
    if options.flags and not dialect.flags:
        raise UsageError(f"{dialect} has no flags, only variables")
    if not options.flags and not dialect.environment:
        raise UsageError(f"{dialect} has no variables: say --flags")
    return "flags" if options.flags else "environment"


def _variables(invocation: Invocation) -> Iterator[str]:
    for name, text in invocation.set.items():
        yield f"export {name}={shlex.quote(text)}"


def _config(options: argparse.Namespace) -> Config:
    """What the process is told.  Raises UsageError, LocalProtocolError."""
    settings = process_settings(options, options.names)
    if options.mode is not None:
        settings["mode"] = options.mode
    if options.role == "client":
        settings["client"] = options.names
        if options.listen is not None:
            settings["listen"] = options.listen
    elif options.listen is not None and len(options.names) > 1:
        raise UsageError("several transports cannot listen at one address: leave out --listen")
    else:
        settings["server"] = dict.fromkeys(options.names, options.listen)
    if options.to is not None:
        settings["target"] = options.to
    settings["state"] = os.path.abspath(options.state or state_directory(options.names[0]))
    settings["exit_on_stdin_close"] = not options.ignore_stdin
    return launch_config(**settings)
