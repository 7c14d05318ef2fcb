"""The front door shows names of the core, and only when they are asked for."""

from __future__ import annotations

import pytest

import ptipc
from ptipc.core import names


@pytest.mark.parametrize("name", names.__all__)
def test_every_name_is_at_the_front_door(name: str) -> None:
    assert getattr(ptipc, name) is getattr(names, name)
    assert name in dir(ptipc)


def test_the_front_door_has_no_other_names() -> None:
    """A name that is not there is an ordinary AttributeError."""
    with pytest.raises(AttributeError, match="has no attribute 'Nonsense'"):
        ptipc.Nonsense  # noqa: B018
