"""A transcript for people: octets with their characters, and everything in its order."""

from __future__ import annotations

import pytest

from ptipc.conformance import wirelog
from ptipc.conformance.runs import visible
from ptipc.conformance.verdicts import Entry, Transcript
from tests.conformance.samples import NASTY, TRANSCRIPT


def entry(said: str, channel: str = "port") -> Entry:
    return Entry(at=0.0, who="tester", channel=channel, text=said, event="sent")


def test_octets_are_shown_with_their_characters() -> None:
    assert wirelog.shown(entry("05 02 00 41")) == ["05 02 00 41  ...A"]


def test_octets_past_one_row_have_offsets() -> None:
    rows = wirelog.shown(entry(bytes(range(0x41, 0x53)).hex(" ")))
    assert rows == [
        "0000  41 42 43 44 45 46 47 48 49 4a 4b 4c 4d 4e 4f 50  ABCDEFGHIJKLMNOP",
        "0010  51 52                                            QR",
    ]


def test_the_rest_of_many_octets_is_summed_up() -> None:
    assert wirelog.shown(entry("41 42 ... (5000 octets)")) == [
        "41 42        AB",
        "... (5000 octets)",
    ]


@pytest.mark.parametrize("said", ["to 127.0.0.1:5", "closed", "4", "041", "05  02"])
def test_words_are_not_octets(said: str) -> None:
    assert not wirelog.is_octets(entry(said))
    assert wirelog.shown(entry(said)) == [said]


def test_a_line_that_looks_like_octets_is_a_line() -> None:
    assert wirelog.shown(entry("05 02", channel="stdout")) == ["05 02"]


def test_the_log_says_who_did_what_and_when() -> None:
    assert list(wirelog.lines(TRANSCRIPT)) == [
        "$ TOR_PT_CLIENT_TRANSPORTS='a b' \\",
        "$ TOR_PT_MANAGED_TRANSPORT_VER=1 \\",
        "$ ./pt '--log dir'",
        "   0.0000  tester  launch start            ./pt",
        f"   0.0100  target  stdout line             {visible(NASTY)}",
        "   0.1000  tester  port sent               05 02 00 02  ....",
        "   0.2000  target  port 2 received         "
        "0000  3c 62 3e 48 54 54 50 2f 31 2e 31 20 32 30 30 20  <b>HTTP/1.1 200",
        f"{'':43}0010  4f 4b 3c 2f 62 3e                                OK</b>",
        f"{'':43}... (5000 octets)",
        "   0.3000  target  port eof",
        "   0.4000  tester  script end",
    ]


def test_a_log_may_be_empty() -> None:
    assert list(wirelog.lines(Transcript())) == []
