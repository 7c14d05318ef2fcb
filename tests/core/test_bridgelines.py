"""Bridge lines: what JSON cannot say; their texts are in spec-fixtures/codec/bridge-line.json."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptipc.core.bridgelines import BRIDGE_LINE, BridgeLine
from ptipc.core.codecs import Address
from ptipc.core.escapes import Args
from ptipc.testing import strategies

FINGERPRINT = "2B280B23E1107BB62ABFC40DDCC8824814F80A72"
HERE = Address("192.0.2.7", 443)

fingerprints = st.none() | st.text("0123456789ABCDEF", min_size=40, max_size=40)


def word_args(least: str = "") -> st.SearchStrategy[Args]:
    """Args that can stand in a bridge line: printable ASCII without space and number sign."""
    graphic = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "#")
    keys = st.text(graphic.replace("=", ""), min_size=1, max_size=8)
    return st.lists(st.tuples(keys, st.text(graphic, max_size=16)), max_size=4).map(Args)


lines = st.builds(
    BridgeLine,
    transport=strategies.names(),
    address=strategies.listeners(),
    fingerprint=fingerprints,
    args=word_args(),
) | st.builds(BridgeLine, address=strategies.listeners(), fingerprint=fingerprints)


@given(lines)
def test_what_is_written_is_read_as_the_same(line: BridgeLine) -> None:
    assert BridgeLine.parse(str(line)) == line
    assert str(BridgeLine.parse(str(line))) == str(line)


@given(lines)
def test_the_word_of_the_option_changes_nothing(line: BridgeLine) -> None:
    assert BridgeLine.parse(f"Bridge {line}") == line


@given(strategies.anything() | strategies.damaged(lines.map(str)))
def test_damaged_lines_are_value_errors(text: str) -> None:
    try:
        line = BRIDGE_LINE.parse(text)
    except ValueError:
        return
    assert isinstance(line, BridgeLine)


@given(lines, strategies.args())
def test_what_cannot_be_read_back_is_not_written(line: BridgeLine, args: Args) -> None:
    """Whatever the args are: they are written so that they are read again, or refused."""
    line = BridgeLine(transport="obfs4", address=line.address, args=args)
    try:
        text = str(line)
    except ValueError:
        return
    assert BridgeLine.parse(text) == line


@pytest.mark.parametrize(
    "text",
    [
        "",
        "obfs4",
        "Bridge # obfs4 192.0.2.7:443",
        "192.0.2.7:443 k=v",
        "192.0.2.7:443 ABCD",
        "obfs4 192.0.2.7:443 k=v lonely",
        "obfs4 192.0.2.7:443 =v",
        "obfs4 2001:db8::7:443",
        "obfs4 [fe80::1%eth0]:443",
        "192.0.2.7:443\n192.0.2.8:443",
    ],
)
def test_malformed_lines_are_value_errors(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        BridgeLine.parse(text)


@pytest.mark.parametrize("text", ["obfs4 192.0.2.7", "Bridge obfs4 192.0.2.7:443 # Alice's"])
def test_tors_liberties_are_understood(text: str) -> None:
    assert BridgeLine.parse(text) == BridgeLine(transport="obfs4", address=HERE)


@pytest.mark.parametrize(
    "line",
    [
        BridgeLine(address=HERE, args={"k": "v"}),
        BridgeLine(address=HERE, fingerprint="ABCD"),
        BridgeLine(address=Address("bridge.example", 443)),
        BridgeLine(address=Address("fe80::1%eth0", 443)),
        BridgeLine(transport="obfs4", address=HERE, args={"k": 1}),
        BridgeLine(transport="obfs4", address=HERE, args={"k": "a#b"}),
        BridgeLine(transport="obfs4", address=HERE, args={"a b": "c"}),
    ],
)
def test_impossible_bridges_cannot_be_written(line: BridgeLine) -> None:
    with pytest.raises(ValueError, match=r"."):
        BRIDGE_LINE.emit(line)


def test_a_line_in_one_word_order_can_be_built_by_hand() -> None:
    """Args may be given as a mapping; a fingerprint is written in upper case without its dollar."""
    line = BridgeLine(
        transport="obfs4", address=HERE, fingerprint=f"${FINGERPRINT.lower()}", args={"k": "v"}
    )
    assert str(line) == f"obfs4 192.0.2.7:443 {FINGERPRINT} k=v"


def test_args_are_not_shown() -> None:
    """Not by repr, and not by errors about them."""
    line = BridgeLine(transport="obfs4", address=HERE, args={"password": "hush hush"})
    assert "hush" not in repr(line)
    with pytest.raises(ValueError, match="password") as raised:
        str(line)
    assert "hush" not in str(raised.value)
    for text in ("obfs4 192.0.2.7:443 k=v hush", "192.0.2.7:443 password=hush"):
        with pytest.raises(ValueError, match=r"args|key=value") as raised:
            BridgeLine.parse(text)
        assert "hush" not in str(raised.value)
