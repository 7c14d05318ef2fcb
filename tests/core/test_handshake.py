"""What all handshakes have in common, shown with the smallest of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptipc.core.errors import LocalProtocolError, Refused, RemoteProtocolError
from ptipc.core.handshake import Handshake, HandshakeTimeout, Reader, Script, Steps


class Greeting(Handshake):
    """Hear a word that its length comes before, and say it back."""

    def __init__(self) -> None:
        self.word = b""
        super().__init__()

    def _run(self) -> Script:
        self._send(b"?")
        length = yield from self._reader.exactly(1)
        self.word = yield from self._reader.exactly(length[0])
        self._send(self.word)


class Line(Handshake):
    """Hear one line of at most eight octets, with its end."""

    def __init__(self) -> None:
        self.line = b""
        super().__init__()

    def _run(self) -> Script:
        self.line = yield from self._reader.until(b"\r\n", 8)


class Question(Handshake):
    """Hear one octet, let our caller decide, and say what that was."""

    def __init__(self) -> None:
        self.answer = b""
        super().__init__()

    def decide(self, answer: bytes) -> None:
        self.answer = answer
        self._resume()

    def _run(self) -> Script:
        yield from self._reader.exactly(1)
        yield 0
        self._send(self.answer)
        if self.answer == b"no":
            raise RemoteProtocolError("the caller said no")


class Goodbye(Handshake):
    """Refuse whatever comes, politely."""

    def _run(self) -> Script:
        yield from self._reader.exactly(1)
        self._send(b"bye")
        raise Refused("not today", 7)


class Patient(Handshake):
    """Take the end of the stream and of the time for answers, as long as ``lives`` lasts."""

    def __init__(self, lives: int) -> None:
        self.lives = lives
        super().__init__()

    def _run(self) -> Script:
        while self.lives:
            try:
                yield from self._reader.exactly(5)
            except RemoteProtocolError:
                self.lives -= 1
                self._send(b".")
            else:
                return


class Silent(Handshake):
    """Nothing is said and nothing is heard."""

    def _run(self) -> Script:
        yield from ()


class Never(Handshake):
    """Find out at once that it cannot be."""

    def _run(self) -> Script:
        raise LocalProtocolError("never")
        yield


# --- reading --------------------------------------------------------------------------------------


@given(st.binary(max_size=255), st.binary(max_size=9), st.integers(1, 300))
def test_pieces_of_any_size_come_to_the_same(word: bytes, more: bytes, size: int) -> None:
    machine = Greeting()
    data = bytes([len(word)]) + word + more
    for at in range(0, len(data), size):
        machine.receive_data(data[at : at + size])
    assert machine.done
    assert machine.word == word
    assert machine.trailing_data == more
    assert machine.data_to_send() == b"?" + word


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_octets_come_in_any_wrapping(kind: type[bytes]) -> None:
    machine = Greeting()
    for piece in (b"\1a", b"bc"):
        machine.receive_data(kind(piece))
    assert (machine.word, machine.trailing_data) == (b"a", b"bc")


def test_a_machine_says_how_much_it_needs() -> None:
    machine = Greeting()
    assert machine.bytes_needed == 1
    machine.receive_data(b"\5")
    assert machine.bytes_needed == 5
    machine.receive_data(b"ab")
    machine.receive_data(b"")
    assert machine.bytes_needed == 3
    machine.receive_data(b"cde")
    assert machine.bytes_needed == 0


@given(st.lists(st.integers(1, 4)))
def test_a_line_ends_wherever_it_is_cut(sizes: list[int]) -> None:
    machine = Line()
    data = b"abc\rd\r\n\r\n"
    for size in [*sizes, len(data)]:
        machine.receive_data(data[:size])
        data = data[size:]
    assert machine.line == b"abc\rd"
    assert machine.trailing_data == b"\r\n"


@pytest.mark.parametrize("pieces", [[b"12345678"], [b"1234567\r\n"], [b"1234567", b"\r\n"]])
def test_a_line_that_is_too_long_is_the_peers_fault(pieces: list[bytes]) -> None:
    machine = Line()
    with pytest.raises(RemoteProtocolError, match="within 8 octets"):  # noqa: PT012
        for piece in pieces:
            machine.receive_data(piece)


def test_a_line_may_have_its_full_length() -> None:
    machine = Line()
    machine.receive_data(b"123456\r\n")
    assert machine.line == b"123456"


def test_what_was_not_read_can_be_had_once() -> None:
    reader = Reader()
    reader.feed(b"abc")
    step: Steps[bytes] = reader.exactly(1)
    with pytest.raises(StopIteration) as stop:
        next(step)
    assert stop.value.value == b"a"
    assert reader.rest() == b"bc"
    assert reader.rest() == b""


# --- the end --------------------------------------------------------------------------------------


def test_what_is_to_be_sent_is_given_once() -> None:
    machine = Greeting()
    assert machine.data_to_send() == b"?"
    assert machine.data_to_send() == b""


def test_a_script_without_waits_is_done_at_once() -> None:
    machine = Silent()
    assert machine.done
    machine.receive_data(b"ab")
    machine.receive_data(b"c")
    machine.receive_eof()
    machine.receive_timeout()
    assert machine.trailing_data == b"abc"
    assert machine.error is None


def test_a_script_that_fails_at_once_cannot_be_started() -> None:
    with pytest.raises(LocalProtocolError, match="never"):
        Never()


def test_errors_latch_and_the_goodbye_is_kept() -> None:
    machine = Goodbye()
    with pytest.raises(Refused) as first:
        machine.receive_data(b"hello")
    inputs: list[Callable[[], None]] = [
        lambda: machine.receive_data(b"x"),
        machine.receive_eof,
        machine.receive_timeout,
    ]
    for again in inputs:
        with pytest.raises(Refused) as later:
            again()
        assert later.value is first.value
    assert machine.error is first.value
    assert first.value.code == 7
    assert not machine.done
    assert machine.bytes_needed == 0
    assert machine.data_to_send() == b"bye"


def test_the_end_of_the_stream_within_the_exchange_is_the_peers_fault() -> None:
    machine = Greeting()
    machine.receive_data(b"\5abc")
    with pytest.raises(RemoteProtocolError, match="closed"):
        machine.receive_eof()
    assert not machine.done


@pytest.mark.parametrize("machine", [Greeting(), Question()])
def test_the_end_of_the_time_is_an_error_of_its_own(machine: Handshake) -> None:
    with pytest.raises(HandshakeTimeout):
        machine.receive_timeout()
    with pytest.raises(HandshakeTimeout):
        machine.receive_data(b"x")


def test_a_script_may_take_the_end_for_an_answer() -> None:
    """It goes on waiting, comes to its end, or fails in its own way."""
    machine = Patient(2)
    machine.receive_eof()
    assert machine.bytes_needed == 5
    machine.receive_timeout()
    assert machine.done
    assert machine.data_to_send() == b".."


# --- decisions ------------------------------------------------------------------------------------


def test_a_machine_waits_for_our_caller() -> None:
    """Meanwhile it takes what comes, and the end of the stream is no error."""
    machine = Question()
    machine.receive_data(b"?early")
    assert machine.bytes_needed == 0
    assert not machine.done
    machine.receive_data(b" data")
    machine.receive_eof()
    machine.decide(b"yes")
    assert machine.done
    assert machine.data_to_send() == b"yes"
    assert machine.trailing_data == b"early data"


def test_a_decision_has_its_time() -> None:
    """Not while the peer's turn lasts, not when all is over, and not after an error."""
    machine = Question()
    with pytest.raises(LocalProtocolError):
        machine.decide(b"yes")
    machine.receive_data(b"?")
    machine.decide(b"yes")
    with pytest.raises(LocalProtocolError):
        machine.decide(b"yes")

    refused = Question()
    refused.receive_data(b"?")
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="said no"):
            refused.decide(b"no")


def test_a_handshake_without_a_script_is_a_mistake() -> None:
    with pytest.raises(NotImplementedError):
        Handshake()
