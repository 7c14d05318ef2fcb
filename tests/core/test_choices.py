"""Values that are one of a few words."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DataObject, SearchStrategy

from ptipc.core.choices import (
    ENABLED,
    LEVEL,
    MODE,
    PROTOCOL,
    SEVERITY,
    SWITCH,
    THRESHOLD,
    Codec,
    LogLevel,
    Mode,
    Protocol,
)
from ptipc.core.dialects import DIALECTS, PT1, PT2_0
from ptipc.testing import strategies as some

EVERY: dict[str, tuple[Codec[Any], SearchStrategy[Any]]] = {
    "ENABLED": (ENABLED, st.booleans()),
    "LEVEL": (LEVEL, some.levels().filter(lambda level: level is not LogLevel.NOTICE)),
    "MODE": (MODE, some.modes()),
    "PROTOCOL of 1": (PROTOCOL[PT1.edition], some.protocols(PT1)),
    "PROTOCOL of 2": (PROTOCOL[PT2_0.edition], some.protocols(PT2_0)),
    "SEVERITY": (SEVERITY, some.levels()),
    "SWITCH": (SWITCH, st.booleans()),
    "THRESHOLD": (
        THRESHOLD,
        st.sampled_from(LogLevel).filter(lambda level: level is not LogLevel.NOTICE),
    ),
}


@pytest.mark.parametrize("name", EVERY)
@given(data=st.data())
def test_what_is_written_is_read_again(name: str, data: DataObject) -> None:
    codec, values = EVERY[name]
    value = data.draw(values)
    assert codec.parse(codec.emit(value)) == value


@pytest.mark.parametrize("name", EVERY)
@given(text=st.text())
def test_any_text_is_read_or_a_value_error(name: str, text: str) -> None:
    codec, _ = EVERY[name]
    with contextlib.suppress(ValueError):
        codec.parse(text)


def test_log_levels_are_those_of_python() -> None:
    for level in (LogLevel.DEBUG, LogLevel.INFO, LogLevel.WARNING, LogLevel.ERROR):
        assert getattr(logging, level.name) == level
    assert LogLevel.INFO < LogLevel.NOTICE < LogLevel.WARNING
    assert max(LogLevel) is LogLevel.NONE


def test_a_notice_is_info_where_there_are_no_notices() -> None:
    assert LEVEL.emit(LogLevel.NOTICE) == "INFO"
    with pytest.raises(ValueError, match="not a log level"):
        LEVEL.emit(LogLevel.NONE)


def test_case_matters_for_levels_but_not_for_severities() -> None:
    assert SEVERITY.parse("WaRn") is LogLevel.WARNING
    with pytest.raises(ValueError, match="not a log level"):
        LEVEL.parse("warn")


@pytest.mark.parametrize("codec", [SEVERITY, LEVEL, THRESHOLD, MODE])
def test_an_unknown_word_is_shown_as_it_was_given(codec: Codec[object]) -> None:
    with pytest.raises(ValueError, match="'FoRtY'"):
        codec.parse("FoRtY")


def test_no_letter_beyond_ascii_is_an_ascii_letter_in_another_case() -> None:
    """The sign for kelvin is a "k" in lower case."""
    assert "soc\u212as5".lower() == "socks5"
    with pytest.raises(ValueError, match="not a mode"):
        MODE.parse("soc\u212as5")


def test_two_of_the_modes_are_about_datagrams() -> None:
    assert {mode for mode in Mode if mode.datagrams} == {Mode.TRANSPARENT_UDP, Mode.STUN}


def test_protocols_are_read_in_every_edition_and_written_in_their_own() -> None:
    """C29: socks4 is of the first edition, the transparent ones came after it."""
    for dialect in DIALECTS:
        codec = PROTOCOL[dialect.edition]
        for protocol in Protocol:
            assert codec.parse(protocol.value) is protocol
            if protocol.value in dialect.protocols:
                assert codec.emit(protocol) == protocol.value
            else:
                with pytest.raises(ValueError, match="not a protocol"):
                    codec.emit(protocol)
        with pytest.raises(ValueError, match="not a protocol"):
            codec.parse("SOCKS5")
