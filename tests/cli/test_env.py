"""``ptipc env``: what it prints starts a process."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import pytest

from ptipc.cli.main import main
from tests.cli.commands import HELLO, result_of, running


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What the command prints."""
    assert main(["env", *words]) == 0
    return capsys.readouterr().out


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for files of ours, and no setting of anybody."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for name in [name for name in os.environ if name.startswith("TOR_PT_")]:
        monkeypatch.delenv(name)
    return tmp_path


def test_variables_are_lines_for_a_shell(
    capsys: pytest.CaptureFixture[str], state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would be inherited is unset."""
    monkeypatch.setenv("TOR_PT_OLD", "x")
    words = ("client", "one", "two", "--proxy", "socks5://u:p%20q@127.0.0.1:9")
    assert printed(capsys, *words).splitlines() == [
        "unset TOR_PT_OLD",
        "export TOR_PT_MANAGED_TRANSPORT_VER=1",
        f"export TOR_PT_STATE_LOCATION={state}/ptipc/one",
        "export TOR_PT_EXIT_ON_STDIN_CLOSE=1",
        "export TOR_PT_CLIENT_TRANSPORTS=one,two",
        "export TOR_PT_PROXY=socks5://u:p%20q@127.0.0.1:9",
    ]


def test_a_server_has_more_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("server", "one", "--to", "127.0.0.1:1", "--listen", "127.0.0.1:2", "--ignore-stdin")
    lines = printed(capsys, *words, "--option", "a=b c;d=e").splitlines()
    assert "export TOR_PT_SERVER_TRANSPORT_OPTIONS='one:a=b c;one:d=e'" in lines
    assert "export TOR_PT_SERVER_BINDADDR=one-127.0.0.1:2" in lines
    assert "export TOR_PT_ORPORT=127.0.0.1:1" in lines
    assert "export TOR_PT_EXTENDED_SERVER_PORT=''" in lines
    assert not any("STDIN" in line for line in lines)


def test_flags_stand_in_one_line(capsys: pytest.CaptureFixture[str], state: Path) -> None:
    words = ("client", "one", "--dialect", "3.0", "--flags", "--mode", "transparent-UDP")
    assert shlex.split(printed(capsys, *words)) == [
        *("-ptversion", "3.0", "-client", "-state", f"{state}/ptipc/one", "-exit-on-stdin-close"),
        *("-mode", "transparent-UDP", "-transport", "one"),
    ]


def test_what_has_no_variable_is_said_to_be_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, "client", "one", "--dialect", "2.2", "--listen", "127.0.0.1:9")
    assert out.endswith("# and behind the program: -client -proxylistenaddr 127.0.0.1:9\n")


def test_json_has_it_all(capsys: pytest.CaptureFixture[str], state: Path) -> None:
    assert json.loads(printed(capsys, "client", "one", "--json", "--state", "/x")) == {
        "unset": [],
        "set": {
            "TOR_PT_MANAGED_TRANSPORT_VER": "1",
            "TOR_PT_STATE_LOCATION": "/x",
            "TOR_PT_EXIT_ON_STDIN_CLOSE": "1",
            "TOR_PT_CLIENT_TRANSPORTS": "one",
        },
        "argv": [],
    }
    assert json.loads(printed(capsys, "client", "one", "--json", "--dialect", "3.0"))["set"] == {}


@pytest.mark.parametrize("flags", [False, True])
def test_a_process_starts_with_it(flags: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """As a person would do it by hand."""
    if flags:
        words = printed(capsys, "client", "hello", "--dialect", "2.2", "--flags")
        script = f"{shlex.join(HELLO)} {words}"
    else:
        script = f"{printed(capsys, 'client', 'hello')}exec {shlex.join(HELLO)}"
    with running("/bin/sh", "-c", script) as process:
        process.wait_for("^CMETHODS DONE$")
        assert process.process.stdin is not None
        process.process.stdin.close()
        assert process.end() == 0


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("client", "the following arguments are required: NAME"),
        ("client a-b", "argument NAME: not a transport name"),
        ("server one", "where does the server lead its clients to? Say --to"),
        ("client one --flags", "PT 1 has no flags, only variables"),
        ("client one --dialect 3.0", "PT 3.0 has no variables: say --flags"),
        ("client one --listen 127.0.0.1:9", "listen cannot be said to a client in PT 1"),
        ("client one --mode x", "argument --mode: not a mode"),
        ("server a b --to 127.0.0.1:9 --listen 127.0.0.1:9", "several transports cannot listen"),
        ("client one --json --flags", "not allowed with argument"),
    ],
)
def test_a_wrong_command_line_is_explained(words: str, complaint: str) -> None:
    status, said = result_of("env", *words.split())
    assert status == 2
    assert complaint in said
