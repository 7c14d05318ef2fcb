"""Pipes for splice(2): lent, given back, and never more than there may be."""

from __future__ import annotations

import os
import threading

import pytest

from ptipc import pipes
from ptipc.pipes import Pipes
from tests.aio.hosting import descriptors


def test_a_pipe_that_is_given_back_empty_is_lent_again() -> None:
    before = descriptors().keys()
    pool = Pipes()
    first = pool.take()
    pool.give_back(first, empty=True)
    assert pool.take() == first
    os.write(first[1], b"left")
    pool.give_back(first, empty=False)
    second = pool.take()
    assert os.get_blocking(second[0]) is False
    with pytest.raises(BlockingIOError):
        os.read(second[0], 1)
    pool.give_back(second, empty=True)
    pool.close()
    assert descriptors().keys() == before


def test_no_more_are_lent_or_kept_than_there_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipes, "LENT", 3)
    monkeypatch.setattr(pipes, "SPARE", 1)
    before = len(descriptors())
    pool = Pipes()
    lent = [pool.take() for _ in range(3)]
    with pytest.raises(OSError, match="too many"):
        pool.take()
    for pipe in lent:
        pool.give_back(pipe, empty=True)
    assert len(descriptors()) == before + 2
    pool.close()
    assert len(descriptors()) == before


def test_many_threads_may_have_some(monkeypatch: pytest.MonkeyPatch) -> None:
    before = descriptors().keys()
    pool = Pipes()

    def borrow() -> None:
        for _ in range(200):
            pipe = pool.take()
            os.write(pipe[1], b"x")
            assert os.read(pipe[0], 2) == b"x"
            pool.give_back(pipe, empty=True)

    threads = [threading.Thread(target=borrow) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pool.close()
    assert descriptors().keys() == before
