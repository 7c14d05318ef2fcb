"""``ptipc torrc``: lines that a torrc can hold, and reasons for those that it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from ptipc.cli.main import main
from tests.cli.commands import result_of

BRIDGE = f"one 192.0.2.7:443 {'A' * 40} key=value other=x"


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """The lines that the command prints."""
    assert main(["torrc", *words]) == 0
    return capsys.readouterr().out.splitlines()


def test_a_client_has_its_bridges(capsys: pytest.CaptureFixture[str]) -> None:
    """Its transports are those that they name."""
    words = ("client", "--bridge", BRIDGE, "--bridge", "two [2001:db8::1]:80")
    assert printed(capsys, *words, "--", "/bin/sh", "-x") == [
        "UseBridges 1",
        "ClientTransportPlugin one,two exec /bin/sh -x",
        f"Bridge {BRIDGE}",
        "Bridge two [2001:db8::1]:80",
    ]


def test_without_a_bridge_it_is_said_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, "client", "one", "--", "sh")
    assert lines[-1].startswith("# and a line for each bridge: Bridge one ADDRESS:PORT")
    assert lines[1].endswith("/sh")  # tor does not look on the PATH


@pytest.mark.parametrize(
    ("proxy", "lines"),
    [
        ("socks5://127.0.0.1:9", ["Socks5Proxy 127.0.0.1:9"]),
        (
            "socks5://me:pass@127.0.0.1:9",
            ["Socks5Proxy 127.0.0.1:9", "Socks5ProxyUsername me", "Socks5ProxyPassword pass"],
        ),
        ("http://127.0.0.1:9", ["HTTPSProxy 127.0.0.1:9"]),
        ("http://me:p@127.0.0.1:9", ["HTTPSProxy 127.0.0.1:9", "HTTPSProxyAuthenticator me:p"]),
        ("socks4a://127.0.0.1:9", ["Socks4Proxy 127.0.0.1:9"]),
    ],
)
def test_a_proxy_is_tors_to_hand_on(
    proxy: str, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert printed(capsys, "client", "one", "--proxy", proxy, "--", "sh")[2:-1] == lines


def test_a_server_has_an_address_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("server", "one", "--listen", "0.0.0.0:443", "--option", "a=b", "--option", "c=d")
    assert printed(capsys, *words, "--", "/bin/sh")[-3:] == [
        "ServerTransportPlugin one exec /bin/sh",
        "ServerTransportListenAddr one 0.0.0.0:443",
        "ServerTransportOptions one a=b c=d",
    ]


def test_the_conversation_can_be_traced(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = printed(capsys, "client", "one", "--trace", "x.log", "--", "/bin/sh")[1]
    assert line.endswith(f" trace -o {tmp_path}/x.log -- /bin/sh")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["client"], "which transport? Say NAME, or give a --bridge"),
        (["server"], "which transport? Say NAME"),
        (["client", "one", "--", "/nonexistent"], "/nonexistent: no such program"),
        (["client", "one", "--", "sh", "two words"], "cannot hold 'two words': it has a blank"),
        (["client", "one", "--", "sh", ""], "cannot hold '': it is empty"),
        (["client", "one", "--", "sh", "a#b"], "it has a '#' in it"),
        (["client", "one", "--", "sh", "a\tb"], "it has a tab in it"),
        (["client", "one", "--", "sh", "a\nb"], "a character that is not printable"),
        (["server", "one", "--option", "a=b c", "--", "sh"], "the option a: it has a blank"),
        (["server", "one", "--bridge", BRIDGE, "--", "sh"], "are for a client"),
        (["client", "one", "--option", "a=b", "--", "sh"], "are for a server"),
        (["server", "a", "b", "--listen", "127.0.0.1:9", "--", "sh"], "cannot listen at one"),
        (["client", "one", "--proxy", "socks4a://me@127.0.0.1:9", "--", "sh"], "no user name"),
        (["client", "one", "--proxy", "socks5://me@127.0.0.1:9", "--", "sh"], "with a password"),
        (["client", "unknown"], "which program is the client of unknown?"),
    ],
)
def test_what_a_torrc_cannot_hold_is_refused(words: list[str], complaint: str) -> None:
    status, said = result_of("torrc", *words)
    assert status == 2
    assert complaint in said
