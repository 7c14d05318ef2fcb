"""What a person sees, on a terminal and in a pipe."""

from __future__ import annotations

import importlib.util
import io
import os
import sys
from pathlib import Path

import pytest

from ptipc.cli.screen import Screen, open_screen
from tests.cli.commands import (
    PTIPC,
    connect,
    echo,
    local_port,
    on_terminal,
    ptipc,
    receive_exactly,
    tcp_server,
)

WITH_RICH = importlib.util.find_spec("rich") is not None

KINDS = ["plain", "rich"] if WITH_RICH else ["plain"]


class Terminal(io.StringIO):
    """A terminal, as far as it says so itself."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(params=KINDS)
def terminal(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal, with rich installed or not."""
    if request.param == "plain":
        monkeypatch.setitem(sys.modules, "rich.console", None)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Terminal()


def test_in_a_pipe_there_are_lines_only() -> None:
    out = io.StringIO()
    with open_screen(out) as screen:
        assert not screen.live
        screen.status("status")
        screen.line("one")
        screen.line("two", "bad")
        screen.line()
    assert out.getvalue() == "one\ntwo\n\n"


def test_on_a_terminal_the_status_stays_below(terminal: Terminal) -> None:
    """It makes room for lines, is not written twice, and is gone in the end."""
    with open_screen(terminal) as screen:
        assert screen.live
        screen.status("the status")
        screen.status("the status")
        assert terminal.getvalue().count("the status") == 1
        screen.line("one", "bad")
        before, line, behind = terminal.getvalue().partition("one")
        assert line
        assert "\x1b[31m" in before
        assert "the status" in behind
        shown = terminal.getvalue()
    # What follows begins where the status stood.
    assert "the status" not in terminal.getvalue()[len(shown) :]
    assert "\r\x1b[" in terminal.getvalue()[len(shown) :]


def test_a_status_is_cut_where_the_terminal_ends(terminal: Terminal) -> None:
    with open_screen(terminal) as screen:
        screen.status("x" * 100)
    assert max(piece.count("x") for piece in terminal.getvalue().split("\r")) < 40


def test_text_is_shown_as_it_is(terminal: Terminal) -> None:
    """Neither are brackets markup, nor is a long line broken."""
    with open_screen(terminal) as screen:
        screen.line("[bold] " + "x" * 100)
    assert "[bold] " + "x" * 100 in terminal.getvalue()


def test_there_may_be_no_colour(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    with open_screen(terminal) as screen:
        screen.line("one", "bad")
    assert "31m" not in terminal.getvalue()


def test_no_colour_that_says_nothing_is_none(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty variable counts as none (no-color.org)."""
    monkeypatch.setenv("NO_COLOR", "")
    with open_screen(terminal) as screen:
        screen.line("one", "bad")
    assert "31m" in terminal.getvalue()


def test_a_dumb_terminal_is_as_good_as_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert not open_screen(Terminal()).live


def test_when_nobody_reads_any_more_it_goes_on(tmp_path: Path) -> None:
    """As with "ptipc ... | head"; Python does not complain at its end either."""
    reading, writing = os.pipe()
    with open(writing, "w") as out:
        os.close(reading)
        screen = Screen(out)
        screen.line("nobody reads this")
        screen.line("nor this")


def test_the_counts_of_a_tunnel_are_live() -> None:
    """A connection that is well only shows in them."""
    with (
        tcp_server(echo) as port,
        ptipc("run", "server", "hello", "--to", f"127.0.0.1:{port}") as server,
    ):
        line = server.wait_for(r"tell clients of this: (.*)$")[1]
        with on_terminal(*PTIPC, "tunnel", "client", "--bridge", line) as client:
            with connect(local_port(client)) as connection:
                client.wait_for(r"0 open, 0 so far  \|  0 B up, 0 B down")
                connection.sendall(b"hello")
                assert receive_exactly(connection, 5) == b"hello"
                client.wait_for(r"1 open, 1 so far  \|  5 B up, 5 B down")
            client.wait_for(r"0 open, 1 so far  \|  5 B up, 5 B down")
            client.interrupt()
            assert client.end() == 0
            assert "#1" not in client.said
            assert "the end: 0 open, 1 so far  |  5 B up, 5 B down" in client.said
        server.interrupt()
        assert server.end() == 0
