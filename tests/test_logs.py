"""Python's logging as LOG lines: one each, with nobody's address in it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptipc.core.codecs import LogLevel
from ptipc.core.dialects import DIALECTS
from ptipc.core.messages import Log, emit_line, form_for, parse_line
from ptipc.logs import LONGEST, LogLineHandler, elided, one_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("from 192.0.2.7", "from [scrubbed]"),
        ("from 192.0.2.7:443.", "from [scrubbed]."),
        ("('192.0.2.7', 443)", "('[scrubbed]', 443)"),
        ("socks5://user@192.0.2.7:1080/", "socks5://user@[scrubbed]/"),
        ("peer=192.0.2.7, next", "peer=[scrubbed], next"),
        ("192.0.2.7->198.51.100.9:80", "[scrubbed]->[scrubbed]"),
        ("[2001:db8::7]:443 refused", "[scrubbed] refused"),
        ("[2001:db8::7]", "[scrubbed]"),
        ("2001:db8::7 refused", "[scrubbed] refused"),
        ("2001:db8::7:443 refused", "[scrubbed] refused"),
        ("2001:db8:1:2:3:4:5:6:443 refused", "[scrubbed] refused"),
        ("from 2001:db8::7: reset", "from [scrubbed]: reset"),
        ("net 2001:db8::, it", "net [scrubbed], it"),
        ("fe80::1%eth0 on", "[scrubbed] on"),
        ("[fe80::1%eth0]:80 on", "[scrubbed] on"),
        ("::ffff:192.0.2.7 mapped", "[scrubbed] mapped"),
        ("[::ffff:192.0.2.7]:1 mapped", "[scrubbed] mapped"),
        ("client 2001:DB8::A.", "client [scrubbed]."),
    ],
)
def test_addresses_are_elided(text: str, shown: str) -> None:
    assert elided(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "listening at 127.0.0.1:9050 and [::1]:9050 and 0.0.0.0:0 and [::]:0 and ::1",
        "at 12:34:56 and 2026-11-25T12:34:56.789 and 1:2:3",
        "card aa:bb:cc:dd:ee:ff",
        "std::vector<int> and ::global and a::Bad::Cafe()",
        "version 1.2.3, section 3.3.1, 1.2.3.400",
        "a slice [1:2] of 10 and key: value",
        "ratio 3:2",
        "",
    ],
)
def test_what_is_nobodys_address_stays(text: str) -> None:
    assert elided(text) == text


@given(st.ip_addresses(), st.integers(1, 65535))
def test_no_spelling_of_an_address_gets_through(address: object, port: int) -> None:
    for text in (str(address), f"{address}:{port}", f"[{address}]:{port}", f"<{address}>"):
        shown = elided(f"from {text} now")
        if "scrubbed" not in shown:
            assert address.is_loopback or address.is_unspecified  # type: ignore[attr-defined]
        else:
            assert str(address) not in shown


@given(st.text(alphabet="0123456789abcdef:.[]% \n"))
def test_eliding_takes_any_text(text: str) -> None:
    assert isinstance(elided(text), str)


def test_lines_become_one() -> None:
    assert one_line("a\n  b\r\n\n c") == "a | b | c"


@pytest.fixture
def said() -> list[Log]:
    return []


@pytest.fixture
def logger(said: list[Log]) -> Iterator[logging.Logger]:
    logger = logging.getLogger("test_logs")
    logger.setLevel(logging.DEBUG)
    handler = LogLineHandler(said.append)
    logger.addHandler(handler)
    logger.propagate = False
    yield logger
    logger.removeHandler(handler)


@pytest.mark.parametrize(
    ("number", "level"),
    [
        (1, LogLevel.DEBUG),
        (logging.DEBUG, LogLevel.DEBUG),
        (logging.INFO, LogLevel.INFO),
        (25, LogLevel.NOTICE),
        (logging.WARNING, LogLevel.WARNING),
        (logging.ERROR, LogLevel.ERROR),
        (logging.CRITICAL, LogLevel.ERROR),
        (1000, LogLevel.ERROR),
    ],
)
def test_levels_have_their_counterparts(
    number: int, level: LogLevel, said: list[Log], logger: logging.Logger
) -> None:
    logger.setLevel(1)
    logger.log(number, "text")
    assert said == [Log(level, "text")]


def test_addresses_are_elided_unless_asked_otherwise(logger: logging.Logger) -> None:
    said: list[Log] = []
    logger.addHandler(handler := LogLineHandler(said.append, unsafe=True))
    logger.warning("from %s", "192.0.2.7:443")
    logger.removeHandler(handler)
    assert said == [Log(LogLevel.WARNING, "from 192.0.2.7:443")]


def test_an_exception_is_one_line_that_says_where(said: list[Log], logger: logging.Logger) -> None:
    try:
        raise ValueError("from 192.0.2.7\nor so")
    except ValueError:
        logger.exception("it failed")
    (line,) = said
    assert line.text.startswith("it failed: ValueError('from [scrubbed]")
    assert "in test_an_exception_is_one_line_that_says_where, " in line.text
    assert "\n" not in line.text


def test_an_exception_that_was_never_raised_is_named(
    said: list[Log], logger: logging.Logger
) -> None:
    logger.error("it failed", exc_info=KeyError("x"))
    assert said == [Log(LogLevel.ERROR, "it failed: KeyError('x')")]


def test_a_record_has_an_end(said: list[Log], logger: logging.Logger) -> None:
    logger.info("x" * 100_000)
    assert said[0].text == "x" * LONGEST + "..."


def test_a_record_that_cannot_be_formatted_is_no_disaster(
    said: list[Log], logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    logger.info("%d", "not a number")
    assert said == []


def test_what_is_logged_while_a_line_is_said_is_dropped() -> None:
    """Or else a host that cannot be written to would be written to about that, for ever."""
    logger = logging.getLogger("test_logs.recursion")
    said: list[str] = []

    def say(message: Log) -> None:
        said.append(message.text)
        logger.error("cannot say %s", message.text)

    logger.addHandler(handler := LogLineHandler(say))
    logger.error("first")
    logger.error("second")
    logger.removeHandler(handler)
    assert said == ["first", "second"]


@given(st.text())
def test_whatever_is_logged_makes_a_line_that_hosts_accept(text: str) -> None:
    """In every edition that has LOG lines, it can be said and is one line."""
    said: list[Log] = []
    LogLineHandler(said.append).handle(
        logging.LogRecord("x", logging.INFO, "x", 1, text.replace("%", "%%"), (), None)
    )
    for dialect in DIALECTS:
        if form_for(Log, dialect):
            line = emit_line(said[0], dialect)
            assert "\n" not in line
            assert isinstance(parse_line(line, dialect), Log)
