"""Front doors: packages whose names are looked for when they are asked for.

A transport process is something that a user waits for, and has no use for what a host needs.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

__all__ = ["Door", "open_door"]


class Door(ModuleType):
    """A package that shows names of its rooms: those that stand in its ``__all__``."""

    __all__: Sequence[str]
    _rooms: Sequence[str]

    def __getattr__(self, name: str) -> Any:
        if name in self.__all__:
            for room in self._rooms:
                module = importlib.import_module(room)
                if name in module.__all__:
                    value = self.__dict__[name] = getattr(module, name)
                    return value
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

    def __setattr__(self, name: str, value: object) -> None:
        # A module that is imported is put into its package; a function that has the name of its
        # module is to be found there instead.
        if name not in self.__all__ or not isinstance(value, ModuleType):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*self.__dict__, *self.__all__})


def open_door(package: str, rooms: Sequence[str]) -> None:
    """Let a package find its names, to be called at its end.

    ``rooms`` are the modules that the names are in; first those that are to be cheap to have.
    """
    door = sys.modules[package]
    door._rooms = rooms  # type: ignore[attr-defined]
    door.__class__ = Door
