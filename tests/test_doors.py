"""The front doors show the names of their rooms, and only when they are asked for."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys

import pytest

DOORS = ("ptipc", "ptipc.aio", "ptipc.blocking")

NAMESAKES = [
    f"ptipc.{layer}.{name}" for layer in ("aio", "blocking") for name in ("attach", "supervise")
]


@pytest.mark.parametrize("package", DOORS)
def test_every_name_is_at_its_door(package: str) -> None:
    door = importlib.import_module(package)
    assert {name for name in door.__all__ if getattr(door, name) is None} == set()
    assert set(dir(door)) >= {*door.__all__, "__doc__"}
    everything: dict[str, object] = {}
    exec(f"from {package} import *", everything)
    assert set(everything) - {"__builtins__"} == set(door.__all__)


@pytest.mark.parametrize("package", DOORS)
def test_a_door_has_no_other_names(package: str) -> None:
    """A name that is not there is an ordinary AttributeError, and its modules are modules."""
    door = importlib.import_module(package)
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'Nonsense'"):
        _ = door.Nonsense
    with pytest.raises(ImportError, match="cannot import name 'Nonsense'"):
        exec(f"from {package} import Nonsense")
    assert door.doors if package == "ptipc" else door.streams


@pytest.mark.parametrize("place", NAMESAKES)
def test_a_function_with_the_name_of_its_module_is_the_function(place: str) -> None:
    """Whatever was imported before."""
    package, _, name = place.rpartition(".")
    for first in (f"import {place}", f"from {package} import GaveUp"):
        program = f"{first}\nfrom {package} import {name}\n{name}.__code__"
        subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize("place", ["ptipc.Address", "ptipc.aio.Plan", "ptipc.blocking.launch"])
def test_what_stands_at_a_door_can_be_pickled(place: str) -> None:
    package, _, name = place.rpartition(".")
    value = getattr(importlib.import_module(package), name)
    assert pickle.loads(pickle.dumps(value)) is value
