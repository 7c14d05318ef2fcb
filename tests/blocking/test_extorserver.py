"""Our own Extended ORPort in threads: who may come, who is sent away, and who harms nobody."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from ptipc.blocking import Client, ExtOrPortServer, SocketStream, Stream, drive
from ptipc.core.codecs import Address
from ptipc.core.errors import PtipcError, RemoteProtocolError
from ptipc.core.extorport import Denied, ExtOrPortInitiator, parse_cookie_file
from tests.blocking.loopback import NETWORK, ping, read_all

SOMEBODY = Address("192.0.2.7", 1984)


def echo(stream: Stream, client: Client) -> None:
    """Greet a client by what is known of it, and send everything back."""
    stream.send(f"{client.transport} {client.address}\n".encode())
    while data := stream.receive():
        stream.send(data)


def cookie(server: ExtOrPortServer) -> bytes:
    assert server.cookie_file is not None
    return parse_cookie_file(Path(server.cookie_file).read_bytes())


def come(server: ExtOrPortServer, key: bytes | None = None, **who: Any) -> SocketStream:
    """What a server transport does for a client of its own."""
    key = cookie(server) if key is None else key
    who = {"transport": "obfs4", "client_address": SOMEBODY, **who}
    stream = NETWORK.dial(server.address)
    try:
        drive(ExtOrPortInitiator(key, os.urandom(32), **who), stream, 10)
    except BaseException:
        stream.close()
        raise
    return stream


def line(stream: Stream) -> bytes:
    data = b""
    while not data.endswith(b"\n") and (more := stream.receive()):
        data += more
    return data


def test_a_client_comes_with_its_address_and_transport() -> None:
    with ExtOrPortServer(echo) as server:
        stream = come(server)
        assert line(stream) == b"obfs4 192.0.2.7:1984\n"
        ping(stream)
        stream.send_eof()
        assert read_all(stream) == b""
        stream.close()
        stream = come(server, client_address=None)
        assert line(stream) == b"obfs4 None\n"
        stream.close()


def test_a_client_that_is_not_wanted_is_denied() -> None:
    with ExtOrPortServer(echo, admit=lambda client: client.address != SOMEBODY) as server:
        with pytest.raises(Denied):
            come(server)
        stream = come(server, client_address=Address("192.0.2.8", 1))
        assert line(stream) == b"obfs4 192.0.2.8:1\n"
        stream.close()


def test_who_does_not_know_the_cookie_is_sent_away() -> None:
    with ExtOrPortServer(echo) as server:
        with pytest.raises(PtipcError):
            come(server, key=bytes(32))
        stream = NETWORK.dial(server.address)
        stream.send(b"GET / HTTP/1.1\r\n\r\n")
        read_all(stream)
        stream.close()


def test_who_says_nothing_is_sent_away_in_time_and_harms_nobody() -> None:
    with ExtOrPortServer(echo, timeout=1.5, half_open=10) as server:
        silent = [NETWORK.dial(server.address) for _ in range(15)]
        stream = come(server)
        assert line(stream) == b"obfs4 192.0.2.7:1984\n"
        for each in silent:
            read_all(each)
            each.close()
        ping(stream)  # it had its proof in time, so it may take its time now
        stream.close()


def test_the_cookie_is_private_and_can_be_changed(tmp_path: Path) -> None:
    """Whoever comes with the old one is too late; those who are there stay."""
    path = tmp_path / "cookie"
    with ExtOrPortServer(echo, cookie_file=str(path)) as server:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        old = cookie(server)
        stream = come(server)
        server.rotate()
        assert cookie(server) != old
        with pytest.raises(RemoteProtocolError, match="does not know the cookie"):
            come(server, key=old)
        come(server).close()
        assert line(stream) == b"obfs4 192.0.2.7:1984\n"
        stream.close()
        assert repr(old) not in repr(server)
    assert path.exists()


def test_a_cookie_that_changes_within_a_handshake_hinders_nobody() -> None:
    """Whether it is read behind the nonce, as goptlib does, or was proved before it changed."""
    with ExtOrPortServer(echo) as server:
        stream = NETWORK.dial(server.address)
        assert stream.receive() == b"\1\0"
        server.rotate()
        machine = ExtOrPortInitiator(
            cookie(server), os.urandom(32), transport="obfs4", client_address=SOMEBODY
        )
        machine.receive_data(b"\1\0")
        stream.send(machine.data_to_send())
        machine.receive_data(stream.receive())
        server.rotate()
        drive(machine, stream, 10)
        assert line(stream) == b"obfs4 192.0.2.7:1984\n"
        stream.close()


def test_a_cookie_of_ours_goes_with_the_server_which_can_be_opened_again() -> None:
    server = ExtOrPortServer(echo)
    for _ in range(2):
        with server:
            assert server.cookie_file is not None
            directory = Path(server.cookie_file).parent
            assert stat.S_IMODE(directory.stat().st_mode) == 0o700
            come(server).close()
        assert not directory.exists()


def test_a_cookie_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    server = ExtOrPortServer(echo, cookie_file=str(tmp_path / "nowhere" / "cookie"))
    with pytest.raises(FileNotFoundError), server:
        pass


def test_handlers_that_fail_or_linger_are_dealt_with(caplog: pytest.LogCaptureFixture) -> None:
    """A bug is in the log, a broken connection hardly, and what still runs in the end is ended."""
    ended = threading.Event()

    def handler(stream: Stream, client: Client) -> None:
        if client.transport == "buggy":
            raise RuntimeError("a bug")
        if client.transport == "broken":
            raise ConnectionResetError("gone")
        stream.receive()
        ended.set()

    with ExtOrPortServer(handler) as server:
        for name in ("buggy", "broken"):
            stream = come(server, transport=name)
            read_all(stream)
            stream.close()
        lingering = come(server, transport="lingering")
        assert not ended.is_set()
    assert ended.is_set()
    read_all(lingering)
    lingering.close()
    assert "a client's handler failed" in caplog.text
    assert "gone" not in [record.message for record in caplog.records if record.levelno > 20]
