"""Pluggable Transport IPC: both sides, every edition of the specification.

This is the protocol without any input or output.  ``ptipc.aio`` and ``ptipc.blocking`` have the
world: transports as executables, and hosts that launch them and dial through them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ptipc.core.names import *  # noqa: F403


def __getattr__(name: str) -> Any:
    # The names are looked for when they are asked for: a transport process, for which a user
    # waits, imports ``ptipc.aio`` and pays for nothing else.
    if not name.startswith("_"):
        from ptipc.core import names

        if name in names.__all__:
            return getattr(names, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    from ptipc.core import names

    return sorted({*globals(), *names.__all__})
