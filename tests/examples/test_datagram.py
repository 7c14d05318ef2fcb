"""What the datagram example promises."""

from __future__ import annotations

import pytest
from datagram import TAG, Datagram, masked, tag
from hypothesis import given
from hypothesis import strategies as st

from ptipc.aio import SystemNetwork
from ptipc.core.escapes import NO_ARGS, Args
from tests.aio.loopback import LOOPBACK, scenario

KEY = "00112233445566778899aabbccddeeff"


def test_an_operator_may_choose_the_key() -> None:
    """It is published as it was given; without one there is a new one each time."""
    chosen = Args({"key": KEY})
    assert Datagram().listener(chosen, SystemNetwork()).args == chosen
    made = [Datagram().listener(NO_ARGS, SystemNetwork()).args for _ in range(2)]
    assert made[0] != made[1]
    Datagram().dialer(made[0], SystemNetwork())


@pytest.mark.parametrize("args", [{}, {"key": "12"}, {"key": "zz" * 16}, {"key": 5}])
def test_a_bad_key_is_judged_at_once(args: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="key"):
        Datagram().dialer(Args(args), SystemNetwork())


@scenario
async def test_what_is_not_ours_is_lost() -> None:
    """Datagrams that were changed, that are too short, or under another key; the next one comes."""
    listening = (
        await Datagram().listener(Args({"key": KEY}), SystemNetwork()).listen_datagrams(LOOPBACK)
    )
    near = await SystemNetwork().datagrams(listening.address)
    key = bytes.fromhex(KEY)

    def wire(key: bytes, data: bytes) -> bytes:
        return (head := tag(key, data)) + masked(key, head, data)

    good = wire(key, b"good")
    assert b"good" not in good
    for data in (b"", good[:3], good[:-1] + b"?", wire(bytes(16), b"bad"), good):
        await near.send(data)
    far = await listening.accept()
    assert await far.receive() == b"good"
    await near.aclose()
    await listening.aclose()


@given(st.binary(min_size=16, max_size=16), st.binary(max_size=2000))
def test_the_mask_comes_off(key: bytes, data: bytes) -> None:
    assert masked(key, tag(key, data), masked(key, tag(key, data), data)) == data
    assert len(tag(key, data)) == TAG
