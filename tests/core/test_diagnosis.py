"""What may be wrong, in words; and events as entries of a log."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from ptipc.core.codecs import LogLevel
from ptipc.core.diagnosis import (
    Nature,
    end_hint,
    is_final,
    log_level,
    log_text,
    passes,
    start_hint,
    still_missing,
)
from ptipc.core.dialects import PT1, Role, Stream
from ptipc.core.session import Event, HostSession

# --- a start that fails ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "nature", "hint"),
    [
        (errno.ENOENT, "nothing", "PATH"),
        (errno.ENOENT, "program", "#!"),
        (errno.ENOENT, "file", "missing"),
        (errno.EACCES, "file", "chmod"),
        (errno.EACCES, "directory", "directory"),
        (errno.EACCES, "program", "AppArmor"),
        (errno.EACCES, "nothing", "no right"),
        (errno.EPERM, "program", "NoNewPrivileges"),
        (errno.EPERM, "program", "quarantine"),
        (errno.ENOEXEC, "program", "another kind of machine"),
        (errno.ETXTBSY, "program", "writing"),
    ],
)
def test_a_number_means_something(number: int, nature: Nature, hint: str) -> None:
    assert hint in (start_hint(number, nature) or "")


@pytest.mark.parametrize("number", [None, 9999])
def test_what_we_know_nothing_about_has_no_hint(number: int | None) -> None:
    assert start_hint(number, "program") is None


@pytest.mark.parametrize(
    ("number", "passing"),
    [(errno.EAGAIN, True), (errno.EMFILE, True), (errno.ENOENT, False), (None, False)],
)
def test_what_may_be_otherwise_later(number: int | None, passing: bool) -> None:
    assert passes(number) is passing


# --- an end that comes too early ------------------------------------------------------------------


def heard(
    text: str = "", stderr: str = "", status: str | None = "exit 1", **settings: Any
) -> tuple[HostSession, str | None]:
    """A session after some lines, and what it says about them."""
    proxy = settings.pop("proxy", False)
    channel = settings.pop("channel", "environment")
    session = HostSession([PT1], Role.CLIENT, ["a", "b"], proxy=proxy, **settings)
    events: list[Event] = []
    for stream, lines in ((Stream.STDOUT, text), (Stream.STDERR, stderr)):
        events += session.receive_data(stream, lines.encode())
    if status is not None:
        for stream in Stream:
            events += session.receive_eof(stream)
    return session, end_hint(session, events, status, proxy=proxy, channel=channel)


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        ({"text": "VERSION-ERROR no-version\n"}, "try another dialect"),
        ({"text": "VERSION 9\n"}, "was not offered"),
        ({"text": "CMETHODS DONE\n"}, "lax=True"),
        ({"text": "VERSION 1\nCMETHODS DONE\n", "proxy": True}, "gone around it"),
        ({"text": "VERSION 1\n", "proxy": True}, "goptlib"),
        ({"stderr": "panic: runtime error\n", "status": "exit 2"}, "panic"),
        ({"status": "exit 127"}, "shell"),
        ({"status": "signal SIGKILL"}, "memory"),
        ({"status": "signal SIGSEGV"}, "damaged"),
        ({"status": "signal SIGSYS"}, "seccomp"),
        ({"text": "VERSION 1\n", "status": "signal SIGILL"}, "another processor"),
        ({}, "settings from variables"),
        ({"channel": "flags"}, "settings from flags"),
        ({"text": "usage: x\n"}, "not a managed transport?"),
        ({"stderr": "usage: x\n"}, "not a managed transport?"),
        ({"status": None}, "flush"),
        ({"stderr": "usage: x\n", "status": None}, "settings from variables"),
    ],
)
def test_an_early_end_is_explained(settings: dict[str, Any], hint: str) -> None:
    assert hint in (heard(**settings)[1] or "")


@pytest.mark.parametrize(
    "settings",
    [
        {"text": "VERSION 1\n"},
        {"text": "VERSION 1\n", "proxy": True, "status": None},
        {"text": "VERSION 1\nPROXY DONE\n", "proxy": True},
        {"text": "VERSION 1\nENV-ERROR because\n"},
        {"text": "VERSION 1\nCMETHODS DONE\n", "status": None},
    ],
)
def test_what_explains_itself_has_no_hint(settings: dict[str, Any]) -> None:
    assert heard(**settings)[1] is None


@pytest.mark.parametrize(
    ("text", "final"),
    [
        ("VERSION 1\n", False),
        ("VERSION 1\nENV-ERROR because\n", True),
        ("VERSION-ERROR no-version\n", True),
        ("VERSION 1\nCMETHODS DONE\n", False),
    ],
)
def test_what_would_be_said_again_is_final(text: str, final: bool) -> None:
    """As for tor, which starts a process again unless it has said why not."""
    assert is_final(heard(text)[0]) is final


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("", "VERSION"),
        ("VERSION 1\n", "a, b"),
        ("VERSION 1\nCMETHOD-ERROR a no\n", "b"),
        (
            "VERSION 1\nCMETHOD a socks5 127.0.0.1:1\nCMETHOD-ERROR b no\n",
            "the line that says it is done",
        ),
    ],
)
def test_what_is_still_missing(text: str, missing: str) -> None:
    assert still_missing(heard(text, status=None)[0]) == missing


# --- the log --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "level", "text"),
    [
        ('LOG SEVERITY=error MESSAGE="oh"', LogLevel.ERROR, "oh"),
        ('LOG SEVERITY=warning MESSAGE="oh"', LogLevel.WARNING, "oh"),
        ('LOG SEVERITY=notice MESSAGE="oh"', LogLevel.INFO, "oh"),
        ('LOG SEVERITY=debug MESSAGE="\\033[2J\\n"', LogLevel.DEBUG, "\\x1b[2J\\n"),
        ("LOG whatever", LogLevel.INFO, "LOG whatever"),
        ("STATUS TRANSPORT=a K=v", LogLevel.INFO, "STATUS TRANSPORT=a K=v"),
        ("SOMETHING new", LogLevel.INFO, "SOMETHING new"),
        ("VERSION 1", LogLevel.DEBUG, "VERSION 1"),
        ("SMETHOD a 127.0.0.1:1", LogLevel.DEBUG, "SMETHOD a 127.0.0.1:1"),
    ],
)
def test_an_event_is_an_entry_of_a_log(line: str, level: LogLevel, text: str) -> None:
    session = HostSession([PT1], Role.CLIENT, ["a"])
    event = session.receive_data(Stream.STDOUT, f"{line}\n".encode())[0]
    assert (log_level(event), log_text(event)) == (level, text)


def test_so_is_what_is_wrong() -> None:
    session = HostSession([PT1], Role.CLIENT, ["a"], line_limit=300)
    (violation,) = session.receive_data(Stream.STDOUT, b"CMETHOD bad-name socks5 127.0.0.1:1\n")
    assert log_level(violation) == LogLevel.WARNING
    assert log_text(violation).startswith("against the rules: ")
    assert log_text(violation).endswith(": CMETHOD bad-name socks5 127.0.0.1:1")
    (written,) = session.receive_data(Stream.STDERR, b"caf\xc3\xa9\x07\n")
    assert (log_level(written), log_text(written)) == (LogLevel.INFO, "stderr: café\\x07")
    (cut,) = session.receive_data(Stream.STDOUT, b"x" * 400)
    assert log_text(cut) == "a line that is too long: " + "x" * 200
    session.receive_data(Stream.STDERR, b"rest")
    (rest,) = session.receive_eof(Stream.STDERR)
    assert (log_level(rest), log_text(rest)) == (LogLevel.WARNING, "a line without an end: rest")
