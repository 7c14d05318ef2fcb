"""The tester at a host's Extended ORPort, in the place of a server transport, right or wrong.

It asks as ``ptipc.core.extorport`` does not: step by step, and wrongly if a case wants it so.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptipc.conformance.links import Link
from ptipc.conformance.peers import HASHES
from ptipc.core.extorport import parse_cookie_file
from ptipc.osdep import WINDOWS

__all__ = ["answer_of", "cookie_facts", "prove", "types_of"]

DECISIONS = ("10 00", "10 01")
"""OKAY and DENY; a command with another code is passed over."""


async def _take(link: Link, count: int, within: float) -> bytes:
    """So many octets; raises EOFError, with what is to be said of it, if they do not come."""
    came = await link.until(lambda: len(link.data) >= count, within)
    if len(link.data) < count:
        found = link.take().hex(" ")
        raise EOFError(f"{found} {link.ended if came else 'timeout'}".strip())
    return link.take(count)


async def types_of(link: Link, within: float) -> str:
    """The authentication types that the host offers, and the 00 behind them."""
    await link.until(lambda: 0 in link.data, within)
    size = link.data.index(0) + 1 if 0 in link.data else len(link.data)
    return link.take(size).hex(" ") or link.ended or "timeout"


async def prove(link: Link, cookie: Path, *, wrong: bool, within: float) -> str:
    """Authenticate with the cookie in a file, or with another one, and return what came of it.

    The host's nonce is written down.
    """
    try:
        secret = parse_cookie_file(cookie.read_bytes())
    except (OSError, ValueError) as error:
        return str(error)
    nonce = os.urandom(32)
    await link.send(b"\1" + nonce)
    try:
        proof, theirs = await _take(link, 32, within), await _take(link, 32, within)
        link.recorder.note("target", link.channel, "nonce", theirs.hex(), name=link.name)
        right, own = (
            hmac.digest(secret, label + nonce + theirs, hashlib.sha256) for label in HASHES
        )
        if proof != right:
            return "unproved"
        await link.send(bytes(32) if wrong else own)
        status = (await _take(link, 1, within))[0]
    except EOFError as error:
        return str(error)
    return {0: "refused", 1: "accepted"}.get(status, f"status {status:02x}")


async def answer_of(link: Link, within: float) -> str:
    """The code of the host's decision; commands that are none are passed over."""
    try:
        while True:
            code = (await _take(link, 2, within)).hex(" ")
            size = int.from_bytes(await _take(link, 2, within), "big")
            await _take(link, size, within)
            if code in DECISIONS:
                return code
    except EOFError as error:
        return str(error)


def cookie_facts(path: Path) -> Mapping[str, Any]:
    """What there is to say of a cookie file: ``form``, ``mode``, ``private``, ``digest``.

    Raises OSError if it cannot be read.
    """
    data = path.read_bytes()
    form = "good"
    try:
        parse_cookie_file(data)
    except ValueError as error:
        form = str(error)
    mode = path.stat().st_mode & 0o777
    shut = not mode & 0o077 or not path.parent.stat().st_mode & 0o011
    return {
        "form": form,
        "mode": f"{mode:04o}",
        "private": WINDOWS or shut,
        "digest": hashlib.sha256(data).hexdigest()[:16],
    }
