"""When a process is started again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptipc.core.errors import LocalProtocolError
from ptipc.core.supervision import Backoff, GaveUp


def test_each_wait_is_longer_than_the_last_up_to_a_cap() -> None:
    backoff = Backoff(first=1, factor=2, cap=10, give_up=7)
    assert [backoff.delay(failures, 0) for failures in range(1, 8)] == [1, 2, 4, 8, 10, 10, None]


def test_chance_shortens_a_wait() -> None:
    backoff = Backoff(first=4, jitter=0.5)
    assert backoff.delay(1, 0) == 4
    assert backoff.delay(1, 0.5) == 3
    assert backoff.delay(1, 1) == 2
    assert Backoff(first=4, jitter=0).delay(1, 1) == 4


@given(st.integers(1, 10**6), st.floats(0, 1), st.floats(1, 10), st.floats(0, 1))
def test_a_wait_is_never_long_and_never_overflows(
    failures: int, random: float, factor: float, jitter: float
) -> None:
    backoff = Backoff(factor=factor, cap=30, give_up=None, jitter=jitter)
    delay = backoff.delay(min(failures, 5000), random)
    assert delay is not None
    assert 0 <= delay <= 30


@pytest.mark.parametrize("jitter", [-0.1, 1.1])
def test_a_wait_cannot_be_shortened_by_more_than_all_of_it(jitter: float) -> None:
    with pytest.raises(LocalProtocolError, match="jitter"):
        Backoff(jitter=jitter)


def test_a_process_that_was_given_up_is_a_broken_connection() -> None:
    assert issubclass(GaveUp, ConnectionError)
