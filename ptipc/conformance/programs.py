"""The command of a program under test: where its files are, what it is called, which version it is.

A program is started in an empty directory; so what its command names has to be found from anywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["VERSION_FLAGS", "found_from_anywhere", "name_of", "version_of"]

PATIENCE = 5.0
"""How many seconds a program has to say its version."""

VERSION_FLAGS: Mapping[str, str] = {
    "arti": "--version",
    "lyrebird": "-version",
    "obfs4proxy": "-version",
    "snowflake-client": "-version",
    "tor": "--version",
}
"""The programs that are known to say their version and end, and with which flag.

Any other might do anything if it is started with a flag that it does not know.
"""

_INTERPRETERS = re.compile(r"(python|pypy|perl|ruby|node|bash|dash|sh|env|java)[0-9.]*(\.exe)?")

_VERSION = re.compile(r"\d+(\.\d+)+[-+.\w]*")


def found_from_anywhere(words: Sequence[str]) -> list[str]:
    """A command whose files, named from where we are, are named by their whole path.

    Of the program that is what has a separator in it; of its arguments, what has a separator or a
    dot in it and is there.  Flags are left alone, and so is what is no file.
    """
    return [_whole(word, first=not at) for at, word in enumerate(words)]


def _whole(word: str, first: bool) -> str:
    separators = [each for each in (os.sep, os.altsep) if each]
    path_like = any(each in word for each in separators)
    if not path_like and (first or "." not in word.strip(".")):
        return word
    with contextlib.suppress(OSError, ValueError):
        if not word.startswith("-") and Path(word).exists():
            # Not resolved: what a link is called may be what it is for.
            return os.path.abspath(word)
    return word


def name_of(command: Sequence[str]) -> str:
    """What a program is called: ``x.py`` if the command is ``python -u x.py``."""
    for at, word in enumerate(command):
        name = Path(word).name
        if word in ("-c", "-e"):
            break  # what follows is no name
        assigns = at > 0 and "=" in word
        if not (word.startswith("-") or assigns or _INTERPRETERS.fullmatch(name)):
            return name
    return Path(command[0]).name


async def version_of(command: Sequence[str]) -> str:
    """The version that a program says it is, if it is one that can be asked; or else nothing."""
    flag = VERSION_FLAGS.get(Path(command[0]).stem)
    if flag is None:
        return ""
    try:
        process = await asyncio.create_subprocess_exec(
            command[0],
            flag,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except OSError:
        return ""
    try:
        async with asyncio.timeout(PATIENCE):
            said, _ = await process.communicate()
    except TimeoutError:
        return ""
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    found = _VERSION.search(said.decode("utf-8", "replace"))
    return found[0].rstrip(".") if found else ""
