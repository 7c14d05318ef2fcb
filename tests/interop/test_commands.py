"""The commands with real transports, and within the real tor."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from pathlib import Path

import pytest

from tests.cli.commands import (
    HELLO,
    PATIENCE,
    PTIPC,
    client_command,
    connect,
    echo,
    local_port,
    ptipc,
    receive_exactly,
    result_of,
    running,
    tcp_server,
    there_and_back,
    wait_until,
)
from tests.interop.processes import free_port, wait_for_end
from tests.interop.tor import NOWHERE, tor

SIZE = 10_000_000


# --- tunnel ---------------------------------------------------------------------------------------


@pytest.mark.program("obfs4proxy")
def test_obfs4_carries_what_ssh_would(tmp_path: Path) -> None:
    """A banner, a connection that rests, megabytes on another; and the keys stay the same."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(b"SSH-2.0-test\r\n")
        echo(connection)

    data = os.urandom(SIZE)
    args = []
    with tcp_server(serve) as port:
        given = ("obfs4", "--to", f"127.0.0.1:{port}", "--state", str(tmp_path))
        for _ in range(2):
            with (
                ptipc("tunnel", "server", *given, "--listen", "127.0.0.1:0") as far,
                ptipc(*(command := client_command(far))) as near,
            ):
                args.append(command[command.index("--args") + 1])
                with connect(local_port(near)) as resting, connect(local_port(near)) as busy:
                    for connection in (resting, busy):
                        # obfs4proxy may keep what comes directly behind its handshake until
                        # more comes; but a client of SSH does not wait for the server's banner.
                        connection.sendall(b"!")
                        assert receive_exactly(connection, 15) == b"SSH-2.0-test\r\n!"
                    assert there_and_back(busy, data) == data
                    assert there_and_back(resting, b"x") == b"x"
                # The Extended ORPort has told where it comes from: the client's own connection.
                far.wait_for(r"#\d from 127\.0\.0\.1:\d+ is closed; 10\.0 MB up, 10\.0 MB down")
                for end in (near, far):
                    end.interrupt()
                    assert end.end() == 0
    assert args[0] == args[1]
    assert "cert=" in args[0]


# --- run and probe --------------------------------------------------------------------------------


@pytest.mark.program("snowflake-client")
def test_the_conversation_of_snowflake_is_shown() -> None:
    with ptipc("run", "client", "snowflake") as process:
        process.wait_for(r"^   client  CMETHOD snowflake socks5 127\.0\.0\.1:\d+$")
        process.wait_for("waits; Ctrl-C ends it")
        process.interrupt()
        assert process.end() == 0


@pytest.mark.program("obfs4proxy")
def test_bridges_are_told_apart_by_their_handshakes(tmp_path: Path) -> None:
    """One works, one has another certificate, one is not there, one lacks what it needs."""
    with (
        tcp_server(echo) as port,
        ptipc("run", "server", "obfs4", "--to", f"127.0.0.1:{port}") as server,
        ptipc("run", "server", "obfs4", "--to", f"127.0.0.1:{port}") as other,
    ):
        lines = [
            re.sub(r"\s+", " ", process.wait_for(r"(?s)clients of this:\s+(obfs4.*?)\n   host")[1])
            for process in (server, other)
        ]
        place, cert = lines[0].split()[1], lines[1].split()[2]
        assert not lines[0].endswith(cert)
        bridges = [
            lines[0],
            f"obfs4 {place} {cert} iat-mode=0",
            f"obfs4 127.0.0.1:{free_port()} {cert} iat-mode=0",
            f"obfs4 {place} iat-mode=0",
        ]
        status, said = result_of("probe", "--timeout", "2", *bridges)
        for process in (server, other):
            process.interrupt()
            assert process.end() == 0
    assert status == 1
    verdicts = [line.split()[0] for line in said.splitlines() if "obfs4 127" in line]
    assert verdicts == ["works", "fails", "fails", "fails"]
    words = " ".join(said.split())
    assert "no answer within 2 seconds: the bridge is silent, or what it asks for is wrong" in words
    assert "nobody is there: Connection refused" in words
    assert "somebody is there, so look at the args" in words


@pytest.mark.program("tor", "obfs4proxy")
def test_a_real_bridge_answers_in_tls(tmp_path: Path) -> None:
    """Behind obfs4 there is tor, which speaks TLS: the proof that other transports need."""
    place = f"127.0.0.1:{free_port()}"
    lines = subprocess.run(
        [*PTIPC, "torrc", "server", "obfs4", "--listen", place],
        capture_output=True,
        check=True,
        text=True,
    ).stdout.splitlines()
    own = ["PublishServerDescriptor 0", "Address 127.0.0.1", "AddressDisableIPv6 1"]
    with tor(tmp_path / "tor", *lines, *own) as host:
        host.wait_for(f"Registered server transport 'obfs4' at '{place}'")
        bridge = tmp_path / "tor" / "pt_state" / "obfs4_bridgeline.txt"
        wait_until(bridge.exists)
        match = re.search(r"cert=\S+ iat-mode=0", bridge.read_text())
        assert match is not None
        status, said = result_of("probe", "--tls", f"obfs4 {place} {match[0]}")
    assert status == 0
    assert "what is behind it answers in TLS" in said


# --- trace ----------------------------------------------------------------------------------------

CLIENT = [
    "UseBridges 1",
    "Bridge {name} 127.0.0.1:9 cert=AAAA iat-mode=0",
    "ClientTransportPlugin {name} exec {command}",
]
SERVER = [
    "BridgeRelay 1",
    "ORPort 127.0.0.1:auto",
    "ExtORPort 127.0.0.1:auto",
    "AssumeReachable 1",
    "PublishServerDescriptor 0",
    "Address 127.0.0.1",
    "AddressDisableIPv6 1",
    "ServerTransportPlugin {name} exec {command}",
]
BAD = """\
echo VERSION 1
echo 'LOG SEVERITY=warning MESSAGE="some words"'
echo NOBODY knows this
echo on stderr >&2
printf 'CMETHOD bad so'
exec 2>&-
printf 'cks5 127.0.0.1:9\\nCMETHODS DONE\\nthe last'
kill -USR1 $$
"""


def what_tor_sees(log: str, command: str) -> tuple[list[str], set[str]]:
    """What tor says of its transports, each thing once, without what is never the same.

    What it hears on stderr is apart: it may read that earlier or later.
    """
    seen: list[str] = []
    for line in log.splitlines():
        text = line.partition("] ")[2].replace(command, "COMMAND")
        if "hello: " in text:  # said while tor hears the same by SOCKS, so sooner or later
            continue
        if re.search("COMMAND|proxy|transport", text, re.IGNORECASE):
            seen.append(re.sub(r":\d{2,5}\b|(?<=cert=)[^,]+|(?<=PID )'?\d+'?", "N", text))
    by_stderr = {text for text in seen if "standard error" in text}
    return [text for text in dict.fromkeys(seen) if text not in by_stderr], by_stderr


@pytest.mark.program("tor", "obfs4proxy")
@pytest.mark.parametrize(
    ("name", "lines", "last"),
    [
        ("obfs4", CLIENT, "unable to connect OR connection"),
        ("hello", CLIENT, "unable to connect OR connection"),
        ("obfs4", SERVER, "Registered server transport"),
        ("bad", CLIENT, "terminated with status code"),
    ],
    ids=["client", "client of ours", "server", "bad"],
)
def test_nothing_that_tor_sees_is_changed(
    name: str, lines: list[str], last: str, tmp_path: Path
) -> None:
    """tor's log is the same with and without us, to the last line about the transport."""
    bad = tmp_path / "bad.sh"
    bad.write_text(BAD)
    programs = {"obfs4": ["/usr/bin/obfs4proxy"], "hello": HELLO, "bad": ["/bin/sh", str(bad)]}
    log = tmp_path / "log"
    seen = []
    for number, before in enumerate(([], [*PTIPC, "trace", "-o", str(log), "--"])):
        data = tmp_path / f"tor{number}"
        command = [*before, *programs[name]]
        given = [line.format(name=name, command=" ".join(command)) for line in lines]
        with tor(data, *given) as host:
            host.wait_for(last)
        for pid in re.findall(r"with PID '(\d+)'", host.log):
            wait_for_end(int(pid))
        seen.append(what_tor_sees(host.log.replace(str(data), "DATA"), command[0]))
    (without, errors), (traced, their_errors) = seen
    assert without == traced
    assert errors == their_errors
    assert len(without) > 5
    conversation = log.read_text()
    assert "host    sets TOR_PT_MANAGED_TRANSPORT_VER=1" in conversation
    assert "process VERSION 1" in conversation
    assert "process ends with" in conversation


# --- env and torrc --------------------------------------------------------------------------------


@pytest.mark.program("obfs4proxy")
def test_obfs4proxy_starts_with_what_is_printed(tmp_path: Path) -> None:
    status, lines = result_of("env", "client", "obfs4", "--state", str(tmp_path))
    assert status == 0
    with running("/bin/sh", "-c", f"{lines}\nexec obfs4proxy") as process:
        process.wait_for("^CMETHODS DONE$")
        assert process.process.stdin is not None
        process.process.stdin.close()
        assert process.end() == 0


@pytest.mark.program("tor", "obfs4proxy")
@pytest.mark.parametrize(
    "words",
    [
        "client --bridge obfs4+192.0.2.7:443+cert=AAAA+iat-mode=0 --proxy socks5://u:p@127.0.0.1:9",
        "client --bridge obfs4+192.0.2.7:443 --proxy http://u:p@127.0.0.1:9 --trace x.log",
        "server obfs4 --listen 127.0.0.1:9 --option iat-mode=1",
    ],
)
def test_tor_takes_the_lines(words: str, tmp_path: Path) -> None:
    status, lines = result_of("torrc", *(word.replace("+", " ") for word in words.split()))
    assert status == 0
    torrc = tmp_path / "torrc"
    own = [*NOWHERE, f"DataDirectory {tmp_path}/data", "Address 127.0.0.1", "SocksPort 0"]
    torrc.write_text("\n".join([*own, lines]))
    done = subprocess.run(
        ["tor", "--verify-config", "-f", str(torrc), "--defaults-torrc", os.devnull],
        capture_output=True,
        timeout=PATIENCE,
        env={**os.environ, "HOME": str(tmp_path)},
        text=True,
    )
    assert "Configuration was valid" in done.stdout
    assert done.returncode == 0
