"""The event loops in which the tests of connections take place."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.aio.connections import WAYS, Run, run_in


@pytest.fixture(params=WAYS)
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs a coroutine, in every way."""
    with run_in(request.param, monkeypatch) as run:
        yield run


@pytest.fixture(params=WAYS[:2])
def run_engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs a coroutine, in the ways in which there is an engine."""
    with run_in(request.param, monkeypatch) as run:
        yield run
