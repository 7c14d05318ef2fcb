"""``ptipc tunnel`` with examples/hello.py at both ends."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.commands import (
    Running,
    client_command,
    connect,
    echo,
    local_port,
    ptipc,
    receive_all,
    receive_exactly,
    result_of,
    tcp_server,
    udp_echo,
    wait_until,
)
from tests.interop.processes import free_port, wait_for_end


@contextlib.contextmanager
def tunnel(
    to: int, state: Path, server: tuple[str, ...] = (), client: tuple[str, ...] = ()
) -> Iterator[tuple[Running, Running]]:
    """Both ends of a tunnel, of which the client's is started as the server's end says."""
    given = ("tunnel", "server", "hello", "--to", f"127.0.0.1:{to}", "--state", str(state))
    with (
        ptipc(*given, "--listen", "127.0.0.1:0", *server) as far,
        ptipc(*client_command(far), *client) as near,
    ):
        local_port(near)
        yield far, near
        if near.process.poll() is None:
            near.interrupt()
            near.end()
        if far.process.poll() is None:
            far.interrupt()


def test_a_tunnel_carries_data_and_its_end_both_ways(tmp_path: Path) -> None:
    """A half-close passes, and what is sent after it in the other direction does, too."""

    def serve(connection: socket.socket) -> None:
        data = receive_all(connection)
        connection.sendall(b"answer to " + data[:5] + b"%d" % len(data))

    with tcp_server(serve) as port, tunnel(port, tmp_path) as (far, near):
        with connect(local_port(near)) as client:
            client.sendall(b"hello" * 200_000)
            client.shutdown(socket.SHUT_WR)
            assert receive_all(client) == b"answer to hello1000000"
        assert "1.0 MB up, 22 B down" in near.wait_for(r"#1 .* is closed; .*")[0]
        assert "1.0 MB up, 22 B down" in far.wait_for(r"#1 from 127.* is closed; .*")[0]
        near.interrupt()
        assert near.end() == 0
        assert "the end: 0 open, 1 so far  |  1.0 MB up, 22 B down" in near.said
        far.interrupt()
        assert far.end() == 0


def test_a_server_may_speak_first_and_connections_may_rest(tmp_path: Path) -> None:
    """As with SSH: a banner, a long silence, short messages; and many connections meanwhile."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(b"SSH-2.0-test\r\n")
        echo(connection)

    with (
        tcp_server(serve) as port,
        tunnel(port, tmp_path) as (_, near),
        connect(local_port(near)) as resting,
        contextlib.ExitStack() as stack,
    ):
        assert receive_exactly(resting, 14) == b"SSH-2.0-test\r\n"
        others = [stack.enter_context(connect(local_port(near))) for _ in range(200)]
        for other in others:
            assert receive_exactly(other, 14) == b"SSH-2.0-test\r\n"
        for number, other in enumerate(others):
            other.sendall(b"%08d" % number)
        assert [int(receive_exactly(other, 8)) for other in others] == list(range(200))
        stack.close()
        resting.sendall(b"x")
        assert receive_exactly(resting, 1) == b"x"


@pytest.mark.parametrize("dialect", [(), ("--dialect", "3.0")], ids=["2.2", "3.0"])
def test_a_tunnel_carries_datagrams(dialect: tuple[str, ...], tmp_path: Path) -> None:
    """Every datagram arrives whole, once there is a connection: the first ones may be lost."""
    with (
        udp_echo() as port,
        tunnel(port, tmp_path, ("--udp", *dialect)) as (_, near),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        client.connect(("127.0.0.1", local_port(near)))
        client.settimeout(0.1)

        def answered() -> bool:
            client.send(b"anybody?")
            try:
                return bool(client.recv(100))
            except TimeoutError:
                return False

        wait_until(answered)
        client.settimeout(10)
        for size in (1, 1400, 0, 3):
            client.send(b"." * size)
            while (data := client.recv(2000)) == b"anybody?":  # a late one
                pass
            assert data == b"." * size


def test_the_destination_may_be_a_name(tmp_path: Path) -> None:
    """It is looked up for each connection."""
    with (
        tcp_server(echo) as port,
        ptipc(
            *("tunnel", "server", "hello", "--to", f"localhost:{port}", "--state", str(tmp_path)),
            *("--listen", "127.0.0.1:0", "--plain"),
        ) as far,
        ptipc(*client_command(far)) as near,
        connect(local_port(near)) as client,
    ):
        client.sendall(b"hello")
        assert receive_exactly(client, 5) == b"hello"
        # Without the Extended ORPort nobody knows where it comes from.
        far.wait_for(r"#1 is connected")
        client.close()
        for end in (near, far):
            end.interrupt()
            assert end.end() == 0


def test_a_server_that_cannot_be_reached_is_told_of(tmp_path: Path) -> None:
    """The client's connection is closed, and a line says why."""
    with ptipc("tunnel", "client", "hello", "--to", f"127.0.0.1:{free_port()}") as near:
        with connect(local_port(near)) as client:
            assert receive_all(client) == b""
        near.wait_for(r"#1 from 127\S+: hello cannot connect to .*: the target refused")
        near.interrupt()
        assert near.end() == 0
        assert "0 open, 0 so far, 1 failed" in near.said


# --- Ctrl-C ---------------------------------------------------------------------------------------


def test_the_first_interrupt_lets_connections_end_by_themselves(tmp_path: Path) -> None:
    with tcp_server(echo) as port, tunnel(port, tmp_path) as (_, near):
        with connect(local_port(near)) as client:
            client.sendall(b"1")
            assert receive_exactly(client, 1) == b"1"
            near.interrupt()
            near.wait_for("1 connection is still open; Ctrl-C again ends what is")
            with pytest.raises(ConnectionRefusedError):
                connect(local_port(near))
            client.sendall(b"2")
            assert receive_exactly(client, 1) == b"2"
        assert near.end() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_ends_them(number: signal.Signals, tmp_path: Path) -> None:
    with tcp_server(echo) as port, tunnel(port, tmp_path) as (_, near):
        with connect(local_port(near)) as client:
            client.sendall(b"1")
            assert receive_exactly(client, 1) == b"1"
            near.process.send_signal(number)
            near.wait_for("still open")
            near.process.send_signal(number)
            assert near.end() == 130
            assert receive_all(client) == b""
        assert "is ended; 1 B up, 1 B down" in near.said


def test_the_server_ends_in_the_same_way(tmp_path: Path) -> None:
    with tcp_server(echo) as port, tunnel(port, tmp_path, client=("--drain", "0.1")) as (far, near):
        with connect(local_port(near)) as client:
            client.sendall(b"1")
            assert receive_exactly(client, 1) == b"1"
            far.interrupt()
            far.wait_for("1 connection is still open")
            client.sendall(b"2")
            assert receive_exactly(client, 1) == b"2"
            near.interrupt()  # which waits for a moment only
            assert near.end() == 130
        assert far.end() == 0


# --- processes that end ---------------------------------------------------------------------------


def test_a_process_that_dies_is_started_again(tmp_path: Path) -> None:
    """It is said, and what connects meanwhile waits."""
    with tcp_server(echo) as port, tunnel(port, tmp_path) as (far, near):
        for end in (far, near):
            commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in end.children()}
            (hello,) = (pid for pid, command in commands.items() if b"hello.py" in command)
            os.kill(hello, signal.SIGKILL)
            end.wait_for(r"is down: it ended with signal SIGKILL; next try in 0\.\d s")
            end.wait_for("is up again")
        with connect(local_port(near)) as client:
            client.sendall(b"hello")
            assert receive_exactly(client, 5) == b"hello"


ONLY_ONCE = """
import pathlib, socket, sys
if pathlib.Path(sys.argv[1]).exists():
    print("VERSION-ERROR no-version", flush=True)
    sys.exit(1)
pathlib.Path(sys.argv[1]).touch()
port = socket.create_server(("127.0.0.1", 0))
where = port.getsockname()[1]
print(f"VERSION 1\\nCMETHOD one socks5 127.0.0.1:{where}\\nCMETHODS DONE", flush=True)
port.accept()
"""


def test_a_process_that_cannot_be_kept_running_is_given_up(tmp_path: Path) -> None:
    """It ends when somebody connects, and does not start again."""
    words = ("tunnel", "client", "one", "--to", "127.0.0.1:9", "--", sys.executable, "-c")
    with ptipc(*words, ONLY_ONCE, str(tmp_path / "mark")) as near:
        with connect(local_port(near)):
            near.wait_for("is given up: no-version")
        assert near.end() == 1


def test_a_process_that_does_not_start_is_said_to(tmp_path: Path) -> None:
    status, said = result_of("tunnel", "client", "x", "--to", "127.0.0.1:9", "--", "/nonexistent")
    assert status == 3
    assert said.startswith("Cannot start '/nonexistent': No such file")


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = ("tunnel", "client", "hello", "--to", "127.0.0.1:9", "--listen", str(port))
        status, said = result_of(*words)
    assert status == 1
    assert " ".join(said.split()) == (
        f"Nobody can listen at 127.0.0.1:{port}: Address already in use. "
        "With --listen it may be another place."
    )


def test_an_interrupt_at_the_start_ends_the_process(tmp_path: Path) -> None:
    """A process that has not said anything yet is ended, too."""
    silent = [sys.executable, "-c", "import sys; sys.stderr.write('here'); sys.stdin.read()"]
    with ptipc("tunnel", "client", "x", "-v", "--to", "127.0.0.1:9", "--", *silent) as near:
        wait_until(lambda: len(near.children()) >= 2)
        near.interrupt()
        assert near.end() == 130


def test_nothing_is_left_when_a_tunnel_is_killed(tmp_path: Path) -> None:
    with tcp_server(echo) as port, tunnel(port, tmp_path) as (_, near):
        started = near.children()
        assert len(started) >= 2  # the process, and who ends it if need be
        near.process.kill()
        near.end()
        for pid in started:
            wait_for_end(pid)


# --- what is said ---------------------------------------------------------------------------------


def test_everything_the_process_says_can_be_seen(tmp_path: Path) -> None:
    with tcp_server(echo) as port, tunnel(port, tmp_path, client=("-v",)) as (_, near):
        near.wait_for(r"^   process CMETHOD hello socks5 127\.0\.0\.1:\d+$")
        near.wait_for(r"^             = A client's transport is up")


def test_a_quiet_tunnel_tells_only_of_trouble(tmp_path: Path) -> None:
    with tcp_server(echo) as port, tunnel(port, tmp_path, client=("-q",)) as (far, near):
        with connect(local_port(near)) as client:
            client.sendall(b"1")
            assert receive_exactly(client, 1) == b"1"
        far.wait_for("#1 .* is closed")
        near.interrupt()
        assert near.end() == 0
        assert len(near.said.splitlines()) == 1


def test_the_server_keeps_its_files_where_they_stay(tmp_path: Path) -> None:
    """Also the address that clients are told can be another than that where it listens."""
    environ = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    words = ("tunnel", "server", "hello", "--to", "127.0.0.1:9", "--public", "vpn.example")
    with ptipc(*words, env=environ) as far:
        port = far.wait_for(r"waits for clients at 0\.0\.0\.0:(\d+), and leads them to")[1]
        assert client_command(far) == ["tunnel", "client", "hello", "--to", f"vpn.example:{port}"]
        far.wait_for(r"stay,\s+too\.$")
        said = " ".join(far.said.split())
        assert f"kept in {tmp_path}/ptipc/hello, but the port is for this time only" in said
        assert f"with --listen 0.0.0.0:{port} it would stay" in said
        assert (tmp_path / "ptipc" / "hello").stat().st_mode & 0o777 == 0o700
        far.interrupt()
        assert far.end() == 0


@pytest.mark.parametrize(
    ("listen", "said"),
    [
        ("127.0.0.1:{port}", "It listens for this machine only; --listen PORT would be for all."),
        ("{port}", "this machine (knows of its address; --public says|seems to have no address)"),
        ("[::1]:{port}", r"--to '?\[::1\]:{port}"),
    ],
)
def test_what_may_be_wrong_with_an_address_is_said(listen: str, said: str, tmp_path: Path) -> None:
    port = free_port()
    words = ("tunnel", "server", "hello", "--to", "127.0.0.1:9", "--state", str(tmp_path))
    with ptipc(*words, "--listen", listen.format(port=port)) as far:
        far.wait_for(r"so\s+this\s+stays\s+good")
        assert re.search(said.format(port=port), " ".join(far.said.split()))
        assert client_command(far)[4].endswith(f":{port}")
        far.interrupt()
        assert far.end() == 0


LISTENING = """
import sys
print("VERSION 1\\nSMETHOD one [::]:4443\\nSMETHODS DONE", flush=True)
sys.stdin.read()
"""


def test_a_server_that_listens_everywhere_is_found_where_it_was_asked_to_be(
    tmp_path: Path,
) -> None:
    """Go's programs, as obfs4proxy, say [::] for 0.0.0.0; to most clients IPv6 is of no use."""
    words = ("tunnel", "server", "one", "--to", "127.0.0.1:9", "--state", str(tmp_path))
    with ptipc(*words, "--", sys.executable, "-c", LISTENING) as far:
        far.wait_for(r"with\s+--listen\s+0\.0\.0\.0:\d+\s+it\s+would\s+stay")
        assert re.search(r"--to (YOUR-ADDRESS|[\d.]+):4443 ", far.said)
        far.interrupt()
        far.end()


TALKING = """
import sys
print("VERSION 1\\nCMETHOD one socks5 127.0.0.1:9\\nCMETHODS DONE", flush=True)
print('LOG SEVERITY=info MESSAGE="this is for nobody"')
print('LOG SEVERITY=warning MESSAGE="this is for somebody"')
print("CMETHODS DONE", flush=True)
sys.stdin.read()
"""


def test_what_a_process_warns_of_is_passed_on() -> None:
    """And so is what it does wrong; the rest is for those who ask for it."""
    words = ("tunnel", "client", "one", "--to", "127.0.0.1:9")
    with ptipc(*words, "--", sys.executable, "-c", TALKING) as near:
        near.wait_for(r"^\d\d:\d\d:\d\d \S+ says: this is for somebody$")
        near.wait_for(r"does not keep to the rules: CMethodsDone in the phase 'ready'")
        local_port(near)  # to be interrupted before that is no good end
        near.interrupt()
        assert near.end() == 0
        assert "nobody" not in near.said


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("client", "which transport? Say NAME"),
        ("client hello", "where is the server? Say --to"),
        ("client no-name --to 127.0.0.1:9", "argument NAME: not a transport name"),
        ("client hello --to 127.0.0.1", "argument --to: not an address:port: '127.0.0.1'"),
        ("client hello --to 127.0.0.1:9 --args x", "argument --args: no equals sign in an item"),
        ("client hello --to 127.0.0.1:9 prog", "prog: the program of a transport has its place"),
        ("client --bridge 127.0.0.1:9", "names no transport"),
        ("client x --bridge hello+127.0.0.1:9", "is for hello, not for x"),
        ("client --to 127.0.0.1:9 --bridge hello+127.0.0.1:9", "says it all"),
        ("client unknown --to 127.0.0.1:9", "which program is the client of unknown?"),
        ("client hello --to 127.0.0.1:9 --dialect 4", "not an edition (1, 2, 2.2, 3.0): '4'"),
        ("client hello --to 127.0.0.1:9 --udp --dialect 1", "PT 1 has no mode for UDP"),
        ("client hello --to 127.0.0.1:9 --proxy x", "argument --proxy: not a URI"),
        ("client hello --to 127.0.0.1:9 --timeout 0", "not a number of seconds above 0: '0'"),
        ("client hello --to 127.0.0.1:9 --listen 99999", "not a port"),
        ("server hello", "the following arguments are required: --to"),
        ("server hello --to 127.0.0.1:9 --listen 192.0.2.1:0", "192.0.2.1"),
        ("server hello --to 127.0.0.1:9 --public a..b", "argument --public: not a host name"),
        ("server hello --to 127.0.0.1:9 --state /dev/null/x", "/dev/null"),
        ("middle hello", "invalid choice: 'middle'"),
    ],
)
def test_a_wrong_command_line_is_explained(words: str, complaint: str) -> None:
    status, said = result_of("tunnel", *(word.replace("+", " ") for word in words.split()))
    assert status == 2
    assert complaint in said
    assert "--help'" in said.splitlines()[-1]
