"""What nobody else is to see: the values of args and options, and a proxy's password.

A conversation that is shown or kept is soon sent to somebody who is to help.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ptipc.core.codecs import PROXY
from ptipc.core.escapes import OPTIONS, SMETHOD_ARGS
from ptipc.core.parameters import PARAMETERS

__all__ = ["masked_line", "masked_setting"]

_MASK = "..."


def masked_setting(spelling: str, text: str) -> str:
    """The value of a variable or a flag without the secrets in it."""
    names = {row.name for row in PARAMETERS if spelling in row.spellings}
    if "options" in names:
        return _masked_json(text) if text.lstrip().startswith("{") else _masked_options(text)
    if "proxy" in names:
        return _masked_proxy(text)
    return text


def masked_line(line: str) -> str:
    """A line of a transport process without the values of its args."""
    words = line.split(" ")
    return " ".join(
        f"ARGS:{_masked_args(word.removeprefix('ARGS:'))}" if word.startswith("ARGS:") else word
        for word in words
    )


def _masked_args(text: str) -> str:
    try:
        return ",".join(f"{key}={_MASK}" for key, _ in SMETHOD_ARGS.parse(text).pairs)
    except ValueError:
        return _MASK


def _masked_options(text: str) -> str:
    try:
        options = OPTIONS.parse(text)
    except ValueError:
        return _MASK
    return ";".join(
        f"{name}:{key}={_MASK}" for name, args in options.items() for key, _ in args.pairs
    )


def _masked_json(text: str) -> str:
    def mask(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: mask(inner) for key, inner in value.items()}
        return _MASK

    try:
        return json.dumps(mask(json.loads(text)))
    except (ValueError, RecursionError):
        return _MASK


def _masked_proxy(text: str) -> str:
    try:
        proxy = PROXY.parse(text)
    except ValueError:
        return re.sub(r"//.*@", f"//{_MASK}@", text, flags=re.DOTALL)
    user = "" if proxy.user is None else f"{_MASK}@"
    return f"{proxy.scheme}://{user}{proxy.address}"
