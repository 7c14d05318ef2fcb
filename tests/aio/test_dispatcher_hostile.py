"""Clients that mean harm, and files that nobody should write: from outside of the process."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ptipc.aio import SystemNetwork, drive
from ptipc.core.codecs import Address
from ptipc.core.dialects import PT2_2
from ptipc.core.socks import SocksInitiator, UserPass
from tests.aio.loopback import echo, read_all, read_exactly, scenario, serving
from tests.aio.programs import (
    DEADLINE,
    Running,
    running,
    write_program,
)

PATIENT = """
    from ptipc.aio import StreamTransport, run
    from ptipc.aio.service import Limits

    run(StreamTransport("hello"), limits=Limits(handshake=1000))
"""
"""Nobody is sent away for being slow: whoever is in the way stays in the way."""


async def ping(place: Address, target: Address) -> None:
    stream = await SystemNetwork().dial(place)
    await drive(SocksInitiator(target, UserPass(), {"k": "v"}), stream, DEADLINE)
    await stream.send(b"ping")
    assert await read_exactly(stream, 4) == b"ping"
    await stream.aclose()


def resident(program: Running) -> int:
    """How much memory a process has, in octets."""
    status = Path(f"/proc/{program.process.pid}/status").read_text()
    match = re.search(r"VmRSS:\s*(\d+) kB", status)
    assert match is not None
    return int(match[1]) * 1024


@scenario
async def test_half_open_and_hostile_handshakes_hurt_nobody_else(tmp_path: Path) -> None:
    """500 that say half of a request, one that says nothing, and one that promises 4 GiB."""
    command = write_program(tmp_path, PATIENT)
    with running(command, dialect=PT2_2, client=["hello"]) as program:
        place = program.address()
        async with serving(echo) as server:
            await ping(place, server)
            before = resident(program)
            with contextlib.ExitStack() as clients:
                for _ in range(500):
                    client = clients.enter_context(connected(place))
                    client.sendall(b"\5\1\0\5\1\0\1\x7f")
                clients.enter_context(connected(place))
                big = await SystemNetwork().dial(place)
                await big.send(b"\5\1\x09\xff\xff\xff\xff" + bytes(1000))
                assert (await read_all(big)).startswith(b"\5\x09\5\x10")
                await big.aclose()
                for _ in range(20):
                    await ping(place, server)
                # A handshake that waits costs kilobytes, not what it promises.
                assert resident(program) - before < 32 * 1024 * 1024
            await ping(place, server)


def connected(place: Address) -> socket.socket:
    return socket.create_connection((place.host, place.port), DEADLINE)


@scenario
async def test_args_that_never_end_are_cut_off(tmp_path: Path) -> None:
    """A SOCKS4 user id has no length in front; ours has a limit."""
    command = write_program(tmp_path, PATIENT)
    with running(command, client=["hello"]) as program:
        place = program.address()
        stream = await SystemNetwork().dial(place)
        with pytest.raises(OSError, match=r"reset|Broken"):
            await stream.send(b"\4\1\0\1\1\2\3\4" + bytes([97]) * 50_000_000)
        await stream.aclose()
        async with serving(echo) as server:
            await ping(place, server)


# --- files ----------------------------------------------------------------------------------------

KEEPING = """
    from ptipc.aio import StreamTransport, run

    class Keeping(StreamTransport):
        def listener(self, options, network):
            network.state.file("key").write_text("secret")
            return super().listener(options, network)

    run(Keeping("hello"))
"""
WRITES = re.compile(
    r'\b(?:open|openat|creat|mkdir|mkdirat|rename|renameat2?|link|symlink|mknod)\((.*?"([^"]*)".*)'
)


def written(trace: str) -> set[str]:
    """The files and directories that were opened for writing, or made."""
    found = set()
    for line in trace.splitlines():
        match = WRITES.search(line)
        if match is None or " = -1 " in line:
            continue
        opens = "open" in line.split("(")[0]
        if not opens or re.search(r"O_WRONLY|O_RDWR|O_CREAT", match[1]):
            found.add(match[2])
    return found - {"/dev/null"}


@pytest.mark.program("strace")
def test_nothing_is_written_outside_of_the_state_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's own cache of compiled modules apart, which is its users' choice."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    state, trace = tmp_path / "state", tmp_path / "trace"
    strace = ["strace", "-f", "-o", str(trace), "-e", "trace=file", "--"]
    command = [*strace, *write_program(tmp_path, KEEPING)]
    with running(command, server=["hello"], target="127.0.0.1:9", state=str(state)) as program:
        connected(program.address()).close()
        program.close_stdin()
        assert program.end() == 0
    assert written(trace.read_text()) == {str(state), str(state / "key")}
    assert (state / "key").read_text() == "secret"
    assert state.stat().st_mode & 0o777 == 0o700


@pytest.mark.program("strace")
def test_the_trace_would_show_it(tmp_path: Path) -> None:
    """What a program writes elsewhere is found; or else the test above would say nothing."""
    trace = tmp_path / "trace"
    source = f"open({str(tmp_path / 'out')!r}, 'w'); import os; os.mkdir({str(tmp_path / 'd')!r})"
    subprocess.run(
        ["strace", "-f", "-o", str(trace), "-e", "trace=file", sys.executable, "-B", "-c", source],
        check=True,
        timeout=DEADLINE,
    )
    assert written(trace.read_text()) == {str(tmp_path / "out"), str(tmp_path / "d")}
