"""What the nested example promises: letters on the wire, and something obfuscated in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nested import LETTERS, Reading, nested, spell

from ptipc.aio import in_process
from ptipc.core.escapes import NO_ARGS, Args
from tests.aio.loopback import LOOPBACK, read_exactly, scenario
from tests.examples.watching import Watched


@scenario
async def test_the_wire_has_letters_only() -> None:
    network = Watched()
    listener = nested.listener(NO_ARGS, network)
    assert list(listener.args) == ["obfuscated.cert"]
    listening = await listener.listen(LOOPBACK)
    near = await in_process(nested, listener.args, network=network).dial(listening.address)
    await near.send(b"hidden" * 100)
    far = await listening.accept()
    assert await read_exactly(far, 600) == b"hidden" * 100
    (wire,) = network.streams
    assert set(wire.sent) <= set(LETTERS)
    assert b"hidden".hex().encode() not in wire.sent.translate(
        bytes.maketrans(LETTERS, b"0123456789abcdef")
    )
    for stream in (near, far):
        await stream.aclose()
    await listening.aclose()


def test_the_args_of_both_are_judged() -> None:
    with pytest.raises(ValueError, match="cert is missing"):
        nested.dialer(Args({"spelled.cert": "not for this one"}), Watched())


@given(st.binary(max_size=500), st.integers(1, 50))
def test_letters_are_read_however_they_come(data: bytes, size: int) -> None:
    reading, letters = Reading(), spell(data)
    pieces = [letters[at : at + size] for at in range(0, len(letters), size)]
    assert b"".join(reading(piece) for piece in pieces) == data


@given(st.binary(min_size=2).filter(lambda data: not set(data) <= set(LETTERS)))
def test_what_is_not_letters_breaks_the_connection(data: bytes) -> None:
    with pytest.raises(ConnectionAbortedError):
        Reading()(data + b"b" * (len(data) % 2))
