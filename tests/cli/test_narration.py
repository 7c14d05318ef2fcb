"""A conversation as it is told."""

from __future__ import annotations

import pytest

from ptipc.cli.masking import masked_line, masked_setting
from ptipc.cli.narration import Narrator
from ptipc.core.config import Invocation
from ptipc.core.dialects import PT1, Role, Stream
from ptipc.core.session import HostSession

SESSION = ([PT1], Role.CLIENT, ["one"])


@pytest.fixture
def told() -> list[tuple[str, str]]:
    """Where it is told to."""
    return []


@pytest.fixture
def narrator(told: list[tuple[str, str]]) -> Narrator:
    return Narrator(lambda text, tone: told.append((text, tone)))


def tell(narrator: Narrator, data: bytes, stream: Stream = Stream.STDOUT) -> None:
    """Tell what a process writes."""
    session = HostSession(*SESSION)
    for event in [*session.receive_data(stream, data), *session.receive_eof(stream)]:
        narrator.event("client", event)


def test_a_meaning_is_told_once(narrator: Narrator, told: list[tuple[str, str]]) -> None:
    tell(narrator, b"VERSION 1\nLOG SEVERITY=info MESSAGE=a\nLOG SEVERITY=info MESSAGE=b\n")
    assert told == [
        ("   client  VERSION 1", "plain"),
        ("             = The version that the transport process has chosen among those", "faint"),
        ("               offered.", "faint"),
        ("   client  LOG SEVERITY=info MESSAGE=a", "plain"),
        ("             = Something for a person to read.", "faint"),
        ("   client  LOG SEVERITY=info MESSAGE=b", "plain"),
    ]


def test_what_is_wrong_stands_below_the_line(
    narrator: Narrator, told: list[tuple[str, str]]
) -> None:
    """The line is told once, whether it was understood or not."""
    tell(narrator, b"VERSION 2\nCMETHOD one\nlast")
    assert [text for text, _ in told if not text.lstrip().startswith(("=", "offered"))] == [
        "   client  VERSION 2",
        "             ! against the rules: the version '2' was not offered (C2)",
        "   client  CMETHOD one",
        "             ! against the rules: malformed CMETHOD line: no protocol",
        "   client  last",
        "             ! a line without its end, which nobody takes notice of (C18)",
    ]
    assert [tone for text, tone in told if "!" in text] == ["bad"] * 3


def test_stderr_is_told_as_such(narrator: Narrator, told: list[tuple[str, str]]) -> None:
    tell(narrator, b"panic: \x1b[31m\xff\n", Stream.STDERR)
    assert told == [("   client  (stderr) panic: \\x1b[31m\ufffd", "plain")]


def test_long_lines_are_wrapped_and_longer_ones_cut(
    narrator: Narrator, told: list[tuple[str, str]]
) -> None:
    """No word is broken: somebody may want to copy it."""
    tell(narrator, b"HELLO " + b"word " * 30 + b"x" * 100 + b"\n" + b"y" * 100_000 + b"\n")
    texts = [text for text, _ in told]
    assert "           " + "x" * 100 in texts
    assert max(len(text) for text in texts if " x" not in text and "yyy" not in text) <= 80
    assert any("more characters)" in text for text in texts)
    assert any("! too long a line" in text for text in texts)


def test_settings_are_told_with_their_meanings(
    narrator: Narrator, told: list[tuple[str, str]]
) -> None:
    """Flags as well as variables, and secrets are not told."""
    invocation = Invocation(
        {"TOR_PT_PROXY": "socks5://me:secret@127.0.0.1:9"},
        ("-client", "-options", '{"one": {"key": "secret"}}', "-odd"),
    )
    narrator.start(["prog", "a word"], invocation)
    texts = [text for text, _ in told]
    assert "   host    starts prog 'a word'" in texts
    assert "   host    sets TOR_PT_PROXY=socks5://...@127.0.0.1:9" in texts
    assert '   host    adds -options {"one": {"key": "..."}}' in texts
    assert "   host    adds -client" in texts
    assert "             = the process is a client: the near end of the tunnel" in texts
    assert not any("secret" in text for text in texts)


@pytest.mark.parametrize(
    ("spelling", "text", "masked"),
    [
        ("TOR_PT_SERVER_TRANSPORT_OPTIONS", "a:k=v;b:l=\\;w", "a:k=...;b:l=..."),
        ("TOR_PT_SERVER_TRANSPORT_OPTIONS", "not options", "..."),
        (
            "TOR_PT_SERVER_TRANSPORT_OPTIONS",
            '{"a": {"k": "v", "n": 1}}',
            '{"a": {"k": "...", "n": "..."}}',
        ),
        ("-options", '{"a": ', "..."),
        ("-options", "{" * 100_000, "..."),
        ("TOR_PT_PROXY", "socks5://u:p@127.0.0.1:9", "socks5://...@127.0.0.1:9"),
        ("TOR_PT_PROXY", "http://127.0.0.1:9", "http://127.0.0.1:9"),
        ("TOR_PT_PROXY", "socks5://u:p@s@odd", "socks5://...@odd"),
        ("-proxy", "nothing", "nothing"),
        ("TOR_PT_STATE_LOCATION", "/k=v", "/k=v"),
    ],
)
def test_secrets_are_left_out_of_settings(spelling: str, text: str, masked: str) -> None:
    assert masked_setting(spelling, text) == masked


@pytest.mark.parametrize(
    ("line", "masked"),
    [
        ("SMETHOD a 1.2.3.4:5 ARGS:k=v,l=\\,w", "SMETHOD a 1.2.3.4:5 ARGS:k=...,l=..."),
        ("SMETHOD a 1.2.3.4:5 ARGS:k=v,w", "SMETHOD a 1.2.3.4:5 ARGS:k=..."),
        ("SMETHOD a 1.2.3.4:5 ARGS:odd", "SMETHOD a 1.2.3.4:5 ARGS:..."),
        ("SMETHOD a 1.2.3.4:5 ARGS:", "SMETHOD a 1.2.3.4:5 ARGS:"),
        ("LOG  SEVERITY=info", "LOG  SEVERITY=info"),
    ],
)
def test_so_are_args_of_lines(line: str, masked: str) -> None:
    assert masked_line(line) == masked
