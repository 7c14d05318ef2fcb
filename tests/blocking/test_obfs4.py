"""obfs4proxy, both ends of it, driven from threads; and tor's own Extended ORPort client."""

from __future__ import annotations

import hashlib
import os
import threading
from typing import Any

import pytest

from ptipc.blocking import Client, Stream, launch
from tests.aio.hosting import nothing_left
from tests.blocking.loopback import Doing, echo, ping, read_exactly, serving

SIZE = 20_000_000


@pytest.mark.program("obfs4proxy")
def test_twenty_megabytes_go_each_way() -> None:
    with (
        nothing_left(),
        serving(echo) as target,
        launch(["obfs4proxy"], server=["obfs4"], target=target) as server,
        launch(["obfs4proxy"], client=["obfs4"]) as client,
    ):
        stream = client.dial(server.bridge_line("obfs4"))
        data = os.urandom(SIZE)
        sending = Doing(lambda: stream.send(data))
        digest = hashlib.sha256()
        received = 0
        while received < SIZE and (piece := stream.receive()):
            digest.update(piece)
            received += len(piece)
        sending.result()
        assert digest.digest() == hashlib.sha256(data).digest()
        stream.close()


@pytest.mark.program("obfs4proxy")
def test_two_hundred_connections_at_a_time() -> None:
    with (
        nothing_left(),
        serving(echo) as target,
        launch(["obfs4proxy"], server=["obfs4"], target=target) as server,
        launch(["obfs4proxy"], client=["obfs4"]) as client,
    ):
        line = server.bridge_line("obfs4")

        def one() -> None:
            stream = client.dial(line)
            ping(stream)
            stream.close()

        for each in [Doing(one) for _ in range(200)]:
            each.result()


@pytest.mark.program("obfs4proxy")
def test_a_handler_is_told_who_comes() -> None:
    heard: list[Any] = []
    gone = threading.Event()

    def handler(stream: Stream, client: Client) -> None:
        heard.append(client)
        stream.send(read_exactly(stream, 4))
        stream.receive()
        gone.set()

    with (
        nothing_left(),
        launch(["obfs4proxy"], server=["obfs4"], handler=handler) as server,
        launch(["obfs4proxy"], client=["obfs4"]) as client,
    ):
        stream = client.dial(server.bridge_line("obfs4"))
        ping(stream)
        stream.close()
        assert gone.wait(20)
    assert [each.transport for each in heard] == ["obfs4"]
    assert heard[0].address.is_loopback
