"""UDP over a stream: what JSON cannot say; the rest is in spec-fixtures (wire and session)."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptipc.core.datagrams import (
    TRANSITIONS,
    Action,
    Framing,
    LengthFraming,
    Pool,
    State,
    StunFraming,
)
from ptipc.core.dialects import DIALECTS, PT1, Dialect, Role
from ptipc.core.errors import LocalProtocolError, RemoteProtocolError

# --- framing --------------------------------------------------------------------------------------

MESSAGE = b"\0\1\0\x08" + bytes(range(16)) + b"\x80\x22\0\4ptip"
CHANNEL = b"\x40\0\0\5hello"


def stun_messages() -> st.SearchStrategy[bytes]:
    return st.builds(
        lambda kind, rest, attributes: (
            (kind.to_bytes(2, "big") + (4 * len(attributes)).to_bytes(2, "big") + rest)
            + b"".join(attributes)
        ),
        st.integers(0, 0x3FFF),
        st.binary(min_size=16, max_size=16),
        st.lists(st.binary(min_size=4, max_size=4), max_size=20),
    )


def channel_messages() -> st.SearchStrategy[bytes]:
    return st.builds(
        lambda number, data: number.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data,
        st.integers(0x4000, 0x7FFF),
        st.binary(max_size=40),
    )


def framings() -> st.SearchStrategy[tuple[Framing, Framing, list[bytes]]]:
    """Both ends of a stream, and datagrams that can be sent on it."""
    return st.one_of(
        st.tuples(
            st.builds(LengthFraming), st.builds(LengthFraming), st.lists(st.binary(max_size=600))
        ),
        st.tuples(
            st.builds(LengthFraming, st.just("little")),
            st.builds(LengthFraming, st.just("little")),
            st.lists(st.binary(max_size=600)),
        ),
        st.tuples(st.builds(StunFraming), st.builds(StunFraming), st.lists(stun_messages())),
        st.tuples(
            st.builds(StunFraming, channel_data=st.just(True)),
            st.builds(StunFraming, channel_data=st.just(True)),
            st.lists(stun_messages() | channel_messages()),
        ),
    )


@given(framings(), st.lists(st.integers(1, 50), min_size=1))
def test_datagrams_survive_the_stream(
    ends: tuple[Framing, Framing, list[bytes]], sizes: list[int]
) -> None:
    """In order, and however the stream is cut."""
    ours, theirs, datagrams = ends
    stream = b"".join(ours.serialize(datagram) for datagram in datagrams)
    heard: list[bytes] = []
    cuts = itertools.cycle(sizes)
    while stream:
        size = next(cuts)
        heard += theirs.feed(stream[:size])
        stream = stream[size:]
    theirs.receive_eof()
    assert heard == datagrams


@given(st.lists(st.binary(max_size=100)), st.booleans())
def test_any_octets_are_datagrams_or_the_peers_fault(pieces: list[bytes], channel: bool) -> None:
    framing = StunFraming(channel_data=channel)
    try:
        for piece in pieces:
            assert all(isinstance(datagram, bytes) for datagram in framing.feed(piece))
        framing.receive_eof()
    except RemoteProtocolError:
        with pytest.raises(RemoteProtocolError):
            framing.feed(b"")


@given(st.binary(max_size=60), st.booleans())
def test_any_packet_is_carried_whole_or_refused(packet: bytes, channel: bool) -> None:
    """What the application sends is read back as it was, but for the padding of ChannelData."""
    try:
        stream = StunFraming(channel_data=channel).serialize(packet)
    except LocalProtocolError:
        return
    (heard,) = StunFraming(channel_data=channel).feed(stream)
    assert packet.startswith(heard)
    assert len(packet) - len(heard) < 4


def test_a_datagram_that_is_too_long_is_our_callers_fault() -> None:
    assert len(LengthFraming().serialize(bytes(65535))) == 65537
    with pytest.raises(LocalProtocolError, match="65536"):
        LengthFraming().serialize(bytes(65536))


@pytest.mark.parametrize(
    "packet",
    [b"", b"\x16\3\1", b"\xff" * 20, MESSAGE[:-1], MESSAGE + b"\0", b"\0\1\0\3" + bytes(19)],
)
def test_what_is_no_stun_message_is_our_callers_fault(packet: bytes) -> None:
    with pytest.raises(LocalProtocolError):
        StunFraming().serialize(packet)


def test_channel_data_is_carried_only_if_asked_for() -> None:
    with pytest.raises(LocalProtocolError):
        StunFraming().serialize(CHANNEL)
    with pytest.raises(RemoteProtocolError):
        StunFraming().feed(CHANNEL)
    assert StunFraming(channel_data=True).serialize(CHANNEL) == CHANNEL + bytes(3)
    assert StunFraming(channel_data=True).feed(CHANNEL + bytes(3)) == [CHANNEL]


def test_a_stream_that_is_no_stun_is_lost_for_good() -> None:
    framing = StunFraming()
    with pytest.raises(RemoteProtocolError) as first:
        framing.feed(MESSAGE + b"GET / HTTP/1.1")
    for again in (lambda: framing.feed(MESSAGE), framing.receive_eof):
        with pytest.raises(RemoteProtocolError) as later:
            again()
        assert later.value is first.value


def test_the_end_of_the_stream_within_a_datagram_is_the_peers_fault() -> None:
    framing = LengthFraming()
    assert framing.feed(b"\0\1a\0\2b") == [b"a"]
    with pytest.raises(RemoteProtocolError, match="ended"):
        framing.receive_eof()
    with pytest.raises(RemoteProtocolError, match="ended"):
        framing.feed(b"c")


def test_both_directions_are_apart() -> None:
    """Sending in the middle of a datagram that is being received disturbs nothing."""
    framing = LengthFraming()
    assert framing.feed(memoryview(b"\0\2a")) == []
    assert framing.serialize(b"x") == b"\0\1x"
    assert framing.feed(bytearray(b"b")) == [b"ab"]


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
def test_every_edition_has_the_order_of_the_network(dialect: Dialect) -> None:
    assert LengthFraming(dialect.datagram_length_order).serialize(b"x") == b"\0\1x"


# --- the pool -------------------------------------------------------------------------------------

keys = st.sampled_from("abcd")
happenings = st.lists(
    st.tuples(
        st.sampled_from(
            ["packet", "connected", "closed", "failed", "write_failed", "touch", "expire"]
        ),
        keys,
        st.integers(0, 30),
    ),
    max_size=60,
)


def happen(pool: Pool[str], what: str, key: str, now: float) -> Action | list[str] | None:
    if what == "expire":
        return pool.expire(now)
    if what in ("packet", "connected", "touch"):
        return getattr(pool, what)(key, now)  # type: ignore[no-any-return]
    return getattr(pool, what)(key)  # type: ignore[no-any-return]


@given(st.sampled_from(Role), happenings)
def test_the_pool_keeps_its_promises(role: Role, events: list[tuple[str, str, int]]) -> None:
    """Never more than the limit, nobody stays unused, and only what is there is sent to."""
    pool: Pool[str] = Pool(role, idle_timeout=20, limit=3)
    now = 0.0
    for what, key, later in events:
        now += later
        before = pool.state(key)
        try:
            came = happen(pool, what, key, now)
        except LocalProtocolError:
            assert pool.state(key) is before
            continue
        assert (came is Action.SEND) == (what == "packet" and before is State.CONNECTED)
        assert (came is Action.OPEN) <= (pool.state(key) is State.WAITING)
        assert len(pool) == len(pool.states) <= 3
        assert role is Role.CLIENT or State.WAITING not in pool.states.values()
        if what == "expire":
            due = pool.next_expiry()
            assert due is None or due > now
        assert (pool.next_expiry() is None) == (len(pool) == 0)


def test_the_client_has_the_states_that_the_server_lacks() -> None:
    """PT 3.0 section 1.5.5: a server's connections are never Waiting."""
    server = [row for row in TRANSITIONS if row.role in (None, Role.SERVER)]
    assert not any(State.WAITING in (row.state, row.new) for row in server)
    assert any(row.state is State.WAITING for row in TRANSITIONS)


@pytest.mark.parametrize("role", Role)
def test_every_event_has_one_meaning_in_every_state(role: Role) -> None:
    rows = [(row.event, row.state) for row in TRANSITIONS if row.role in (None, role)]
    assert len(rows) == len(set(rows))


def test_there_are_no_datagrams_in_the_first_edition() -> None:
    assert not any(row.applies(PT1) for row in TRANSITIONS)


def test_a_full_pool_has_no_room_for_newcomers() -> None:
    """Who is there stays: forged addresses cannot push anybody out."""
    pool: Pool[int] = Pool(Role.CLIENT, idle_timeout=60, limit=2)
    assert pool.packet(1, 0) is Action.OPEN
    assert pool.packet(2, 0) is Action.OPEN
    assert [pool.packet(key, 1) for key in range(3, 1000)] == [Action.DROP] * 997
    assert pool.states == {1: State.WAITING, 2: State.WAITING}


def test_the_clock_is_asked_for_one_time_only() -> None:
    """The next expiry is that of the least used, and moves with its use."""
    pool: Pool[str] = Pool(Role.SERVER, idle_timeout=60, limit=9)
    assert pool.next_expiry() is None
    pool.connected("a", 0)
    pool.connected("b", 1.5)
    assert pool.next_expiry() == 60
    pool.touch("a", 2)
    assert pool.next_expiry() == 61.5
    assert pool.expire(61.5) == ["b"]
    assert pool.next_expiry() == 62


def test_making_a_connection_is_no_use_of_it() -> None:
    """PT 3.0 section 1.5.4, table 1: the time is that since the last packet."""
    pool: Pool[str] = Pool(Role.CLIENT, idle_timeout=60, limit=9)
    pool.packet("a", 0)
    assert pool.connected("a", 30) is Action.NONE
    assert pool.next_expiry() == 60


def test_late_news_of_a_connection_change_nothing() -> None:
    """It may have expired while it was being made, or while the news of its end was under way."""
    pool: Pool[str] = Pool(Role.CLIENT, idle_timeout=60, limit=9)
    pool.packet("a", 0)
    assert pool.expire(60) == ["a"]
    assert pool.connected("a", 61) is Action.CLOSE
    assert pool.closed("a") is Action.NONE
    assert pool.write_failed("a") is Action.DROP
    pool.touch("a", 62)
    assert pool.next_expiry() is None


def test_impossible_events_are_our_callers_fault() -> None:
    pool: Pool[str] = Pool(Role.CLIENT, idle_timeout=60, limit=9)
    pool.packet("a", 0)
    with pytest.raises(LocalProtocolError, match=r"'closed' cannot happen .* waiting"):
        pool.closed("a")
    assert pool.failed("a") is Action.NONE
    assert pool.state("a") is State.ABSENT


@pytest.mark.parametrize(("idle_timeout", "limit"), [(0, 1), (-1, 1), (60, 0)])
def test_impossible_settings_are_our_callers_fault(idle_timeout: float, limit: int) -> None:
    with pytest.raises(LocalProtocolError):
        Pool(Role.CLIENT, idle_timeout=idle_timeout, limit=limit)


def test_addresses_are_not_shown() -> None:
    """The keys of a client's pool are whom the traffic is from."""
    pool: Pool[str] = Pool(Role.CLIENT, idle_timeout=60, limit=9)
    pool.packet("192.0.2.7:49152", 0)
    assert "192.0.2.7" not in repr(pool)
