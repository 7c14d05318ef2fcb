"""Every test in threads leaves none of them behind, and no descriptor."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.aio.hosting import descriptors, wait_until


@pytest.fixture(autouse=True)
def _tidy() -> Iterator[None]:
    before = set(threading.enumerate()), descriptors()
    yield
    # Those who close do not wait for the last breath of a thread, which may have a descriptor.
    wait_until(lambda: set(threading.enumerate()) <= before[0])
    assert descriptors().keys() <= before[1].keys(), descriptors()
