"""What the obfuscating example promises: a key that is kept, silence, and octets like chance."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from obfuscated import Obfuscated, Opening, Sealing

from ptipc.aio import SystemNetwork, in_process
from ptipc.core.escapes import NO_ARGS, Args
from ptipc.osdep import State
from tests.aio.loopback import LOOPBACK, read_all, read_exactly, scenario, serving
from tests.examples.watching import Watched

KEY = bytes(range(32))


def published(state: Path | None) -> Args:
    """What a server tells its clients that keeps its key in a directory."""
    network = SystemNetwork(state=None if state is None else State(str(state)))
    return Obfuscated().listener(NO_ARGS, network).args


def test_a_server_keeps_its_key(tmp_path: Path) -> None:
    """The second start publishes what the first did; nobody else can read the key."""
    state = tmp_path / "state"
    assert published(state) == published(state)
    (kept,) = state.iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert published(tmp_path / "elsewhere") != published(state)


def test_a_server_without_a_place_has_a_new_key_each_time() -> None:
    assert published(None) != published(None)


@pytest.mark.parametrize(
    "args", [{}, {"cert": ""}, {"cert": "AAAA"}, {"cert": "A" * 44}, {"cert": "?"}, {"cert": 5}]
)
def test_a_bad_cert_is_judged_before_any_connection(args: dict[str, object]) -> None:
    network = Watched()
    with pytest.raises(ValueError, match=r"cert|padding|base64"):
        Obfuscated().dialer(Args(args), network)
    assert not network.streams


@scenario
async def test_nothing_that_was_said_is_seen_on_the_wire() -> None:
    """Neither what is sent, nor anything else that would be there twice."""
    network = Watched()
    said = b"a voice in the desert " * 1000
    listener = Obfuscated().listener(NO_ARGS, network)
    listening = await listener.listen(LOOPBACK)
    dialer = in_process(Obfuscated(), listener.args, network=network)
    for _ in range(2):
        near = await dialer.dial(listening.address)
        await near.send(said)
        far = await listening.accept()
        assert await read_exactly(far, len(said)) == said
        await near.aclose()
        await far.aclose()
    await listening.aclose()
    one, other = (stream.sent for stream in network.streams)
    assert b"voice" not in one
    pieces = [{wire[at : at + 4] for at in range(len(wire) - 4)} for wire in (one, other)]
    # By chance two such wires have a few pieces of four octets in common, and hardly ever ten.
    assert len(pieces[0] & pieces[1]) < 10
    assert len(pieces[0]) > len(one) - 20


@pytest.mark.parametrize("size", [0, 31, 32, 82, 5000])
@scenario
async def test_a_prober_hears_nothing(size: int) -> None:
    """Whoever does not know the cert gets no octet, whatever they send, and no stream appears."""
    listening = await Obfuscated().listener(NO_ARGS, SystemNetwork()).listen(LOOPBACK)
    prober = await SystemNetwork().dial(listening.address)
    await prober.send(os.urandom(size))
    await prober.send_eof()
    assert await read_all(prober) == b""
    await prober.aclose()
    accepting = asyncio.ensure_future(listening.accept())
    await asyncio.wait({accepting}, timeout=0)
    assert not accepting.done()
    await listening.aclose()
    with pytest.raises(OSError, match="closed"):
        await accepting


@scenario
async def test_an_impostor_is_found_out() -> None:
    """Whoever knows the cert, but does not have its key, is no server."""
    async with serving(lambda stream: stream.send(os.urandom(200))) as address:
        with pytest.raises(ConnectionAbortedError, match="not the server"):
            await in_process(Obfuscated(), published(None)).dial(address)


@scenario
async def test_a_server_that_hangs_up_is_an_error() -> None:
    async with serving(lambda stream: stream.send_eof()) as address:
        with pytest.raises(ConnectionResetError, match="the stream ended after 0"):
            await in_process(Obfuscated(), published(None)).dial(address)


@given(st.lists(st.binary(max_size=40_000), max_size=5), st.integers(1, 5000))
def test_records_bring_back_what_was_sealed(sent: list[bytes], size: int) -> None:
    """However the sender cuts its data, and the network what it carries."""
    sealing, opening = Sealing(KEY), Opening(KEY)
    wire = b"".join(sealing(data) for data in sent)
    pieces = [wire[at : at + size] for at in range(0, len(wire), size)]
    assert b"".join(opening(piece) for piece in pieces) == b"".join(sent)


@given(st.integers(0, 50), st.integers(1, 255))
def test_a_record_that_was_changed_breaks_the_connection(at: int, by: int) -> None:
    wire = bytearray(Sealing(KEY)(b"something to say"))
    wire[at] ^= by
    with pytest.raises(ConnectionAbortedError, match="tampered"):
        Opening(KEY)(bytes(wire) + bytes(2000))


def test_a_record_cannot_be_played_again() -> None:
    wire = Sealing(KEY)(b"once")
    opening = Opening(KEY)
    assert opening(wire) == b"once"
    with pytest.raises(ConnectionAbortedError, match="tampered"):
        opening(wire)


def test_the_same_data_has_no_certain_length() -> None:
    lengths = {len(Sealing(KEY)(b"x")) for _ in range(100)}
    assert len(lengths) > 10
