"""Handshakes of many clients, with an engine and without one."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import pytest

from ptipc.aio.accepting import FAREWELLS, serve_handshakes
from ptipc.aio.streams import SocketStream, drive
from ptipc.core.extorport import ExtOrPortInitiator, ExtOrPortResponder
from ptipc.core.handshake import Handshake, Script
from tests.aio.connections import (
    Run,
    descriptors,
    listening,
    receive_all,
    reset,
    settle,
)
from tests.aio.greetings import Admission, Greeting, Served, Wordy, greeted, served

# --- handshakes that go well ----------------------------------------------------------------------


def test_a_client_is_ready_when_its_handshake_is_done(run: Run) -> None:
    async def test() -> None:
        async with served(Greeting) as s:
            for name in (b"ann", b"bob"):
                await greeted(s, name)

    run(test())


def test_many_clients_are_served_side_by_side(run: Run) -> None:
    async def test() -> None:
        async with served(Greeting, 60.0) as s:
            clients = [await s.client() for _ in range(200)]
            for number, client in enumerate(clients):
                await client.send(b"%d\n" % number)
            for number, client in enumerate(clients):
                assert await client.receive() == b"hello %d\n" % number
                await client.aclose()
            for _ in clients:
                stream, _ = await s.ready.get()
                await stream.aclose()

    run(test())


def test_octets_may_come_one_by_one(run: Run) -> None:
    async def test() -> None:
        async with served(Greeting) as s:
            client = await s.client()
            for octet in b"charlotte\n":
                await client.send(bytes([octet]))
                await settle()
            assert await client.receive() == b"hello charlotte\n"
            stream, machine = await s.ready.get()
            assert machine.done
            await stream.aclose()
            await client.aclose()

    run(test())


def test_what_comes_behind_a_handshake_is_on_the_stream(run: Run) -> None:
    async def test() -> None:
        async with served(Greeting) as s:
            client = await s.client()
            await client.send(b"dora\nearly ")
            stream, _ = await s.ready.get()
            await client.send(b"late")
            await client.send_eof()
            assert await receive_all(stream) == b"early late"
            await stream.aclose()
            await client.aclose()

    run(test())


def test_what_comes_before_a_decision_is_on_the_stream_after_it(run: Run) -> None:
    async def test() -> None:
        async with served(Admission) as s:
            client = await s.client()
            await client.send(b"emil\nearly ")
            stream, machine = await s.ready.get()
            assert isinstance(machine, Admission)
            assert machine.name == b"emil"
            assert not machine.done
            await client.send(b"late")
            await client.send_eof()
            machine.admit()
            await drive(machine, stream, None)
            assert await receive_all(stream) == b"early late"
            await stream.aclose()
            assert await receive_all(client) == b"hello emil\ncome in\n"
            await client.aclose()

    run(test())


def test_the_server_may_speak_first(run: Run) -> None:
    """Tor's Extended ORPort, from its first octet to the decision."""

    async def test() -> None:
        cookie = bytes(32)
        async with served(lambda: ExtOrPortResponder(cookie, bytes(32))) as s:
            client = await s.client()
            initiator = ExtOrPortInitiator(cookie, bytes(32), transport="obfs4")
            driving = asyncio.create_task(drive(initiator, client, None))
            stream, responder = await s.ready.get()
            assert isinstance(responder, ExtOrPortResponder)
            assert responder.transport == "obfs4"
            responder.accept()
            await drive(responder, stream, None)
            await driving
            assert initiator.done
            await stream.aclose()
            await client.aclose()

    run(test())


def test_who_has_nothing_to_ask_is_ready_at_once(run: Run) -> None:
    class Nothing(Handshake):
        def _run(self) -> Script:
            yield from ()

    async def test() -> None:
        async with served(Nothing) as s:
            client = await s.client()
            stream, machine = await s.ready.get()
            assert machine.done
            await stream.aclose()
            assert await client.receive() == b""
            await client.aclose()

    run(test())


def test_a_client_that_reads_slowly_is_waited_for(run: Run) -> None:
    """And nothing that it sends is received meanwhile."""

    async def test() -> None:
        async with served(Wordy) as s:
            client = await s.client()
            await client.send(b"!")
            await settle()
            assert s.ready.empty()
            received = 0
            while received < 8 << 20:
                received += len(await client.receive())
            stream, _ = await s.ready.get()
            await stream.aclose()
            await client.aclose()

    run(test())


# --- handshakes that do not -----------------------------------------------------------------------


def test_a_failed_handshake_ends_with_a_goodbye(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with served(Greeting) as s:
            client = await s.client()
            await client.send(b"x" * 10000)
            assert await receive_all(client) == b"goodbye\n"
            await client.aclose()
            await greeted(s, b"fred")

    with caplog.at_level(logging.DEBUG, "ptipc"):
        run(test())
    (record,) = [record for record in caplog.records if record.name.startswith("ptipc")]
    assert record.levelno == logging.DEBUG
    assert "no b'\\n' within 16 octets" in record.getMessage()


def test_who_has_more_to_say_hears_the_goodbye_as_well(run: Run) -> None:
    """All of it and its end: what we do not want to hear must not turn it into a reset."""

    async def test() -> None:
        async with served(Greeting) as s:
            client = await s.client()
            await client.send(bytes(200_000))
            assert await receive_all(client) == b"goodbye\n"
            await greeted(s, b"fritz")
            await client.send(bytes(10_000))
            await client.aclose()

    run(test())


def test_of_too_many_who_hear_the_goodbye_the_first_has_to_go(run: Run) -> None:
    async def test() -> None:
        async with served(Greeting) as s:
            before = descriptors()
            clients = []
            for _ in range(FAREWELLS + 10):
                clients.append(await s.client())
                await clients[-1].send(b"x" * 17)
                assert await receive_all(clients[-1]) == b"goodbye\n"
            await settle()
            assert descriptors() - before - len(clients) <= FAREWELLS
            for client in clients:
                await client.aclose()

    run(test())


def test_a_client_that_leaves_in_the_middle_is_forgotten(run: Run) -> None:
    async def test() -> None:
        async with served(Greeting) as s:
            client = await s.client()
            await client.send(b"geo")
            await client.send_eof()
            assert await receive_all(client) == b"goodbye\n"
            await client.aclose()
            client = await s.client()
            await client.send(b"geo")
            await settle()
            reset(client)
            await greeted(s, b"gerta")

    run(test())


def test_a_client_that_breaks_while_it_is_talked_to_is_forgotten(run: Run) -> None:
    async def test() -> None:
        async with served(Wordy) as s:
            client = await s.client()
            await client.receive()
            reset(client)
            await settle()
            assert s.ready.empty()

    run(test())


def test_a_silent_client_is_told_when_its_time_is_over(run: Run) -> None:
    async def test() -> None:
        async with served(Greeting, 0.5) as s:
            silent, slow = await s.client(), await s.client()
            await slow.send(b"henr")
            assert await receive_all(silent) == b"goodbye\n"
            assert await receive_all(slow) == b"goodbye\n"
            await greeted(s, b"ida")
            later = await s.client()
            assert await receive_all(later) == b"goodbye\n"
            for client in (silent, slow, later):
                await client.aclose()

    run(test())


def test_the_time_counts_for_each_client(run: Run) -> None:
    """Those who come later go later."""

    async def test() -> None:
        async with served(Greeting, 0.2) as s:
            first = await s.client()
            gone = asyncio.create_task(receive_all(first))
            await asyncio.wait([gone], timeout=0.1)
            second = await s.client()
            await gone
            assert await asyncio.wait_for(receive_all(second), 10) == b"goodbye\n"
            await first.aclose()
            await second.aclose()

    run(test())


def test_who_never_reads_has_to_go_in_time_as_well(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with served(Wordy, 0.05) as s:
            client = await s.client()
            while not caplog.records:
                await asyncio.sleep(0)
            assert len(await receive_all(client)) < 8 << 20
            assert s.ready.empty()
            await client.aclose()

    with caplog.at_level(logging.DEBUG, "ptipc"):
        run(test())


def test_the_silent_do_not_keep_others_waiting(run: Run) -> None:
    async def test() -> None:
        async with served(Greeting, 60.0) as s:
            silent = [await s.client() for _ in range(500)]
            for client in silent[::2]:
                await client.send(b"half a na")
            await greeted(s, b"jo")
            s.serving.close()
            for client in silent:
                with contextlib.suppress(ConnectionError):
                    assert await receive_all(client) in (b"", b"goodbye\n")
                await client.aclose()

    run(test())


def test_of_too_many_half_open_handshakes_the_oldest_goes(run: Run) -> None:
    async def test() -> None:
        async with served(Greeting, 60.0, half_open=3) as s:
            clients = []
            for _ in range(5):
                clients.append(await s.client())
                await settle()
            for client in clients[:2]:
                assert await receive_all(client) in (b"", b"goodbye\n")
            for number, client in enumerate(clients[2:]):
                await client.send(b"%d\n" % number)
                assert await client.receive() == b"hello %d\n" % number
                stream, _ = await s.ready.get()
                await stream.aclose()
            for client in clients:
                await client.aclose()

    run(test())


# --- our own faults -------------------------------------------------------------------------------


def test_a_machine_that_cannot_be_made_costs_one_connection(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    faults = [LookupError("no cookie")]

    def make() -> Handshake:
        if faults:
            raise faults.pop()
        return Greeting()

    async def test() -> None:
        async with served(make) as s:
            client = await s.client()
            assert await receive_all(client) == b""
            await client.aclose()
            await greeted(s, b"karl")

    run(test())
    assert [str(r.exc_info[1]) for r in caplog.records if r.exc_info] == ["no cookie"]


def test_a_script_with_a_fault_costs_one_connection(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    class Faulty(Greeting):
        def _run(self) -> Script:
            yield from super()._run()
            if self.name == b"zero":
                raise ZeroDivisionError

    async def test() -> None:
        async with served(Faulty) as s:
            client = await s.client()
            await client.send(b"zero\n")
            await receive_all(client)
            await client.aclose()
            await greeted(s, b"lisa")

    run(test())
    assert [r.exc_info[0] for r in caplog.records if r.exc_info] == [ZeroDivisionError]


def test_a_connection_that_is_not_taken_over_is_closed(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        def ready(stream: SocketStream, machine: Handshake) -> None:
            raise LookupError("nobody is there")

        listener = listening()
        address = listener.getsockname()
        serving = serve_handshakes(listener, Greeting, ready, None)
        s = Served(address, serving)
        for _ in range(2):
            client = await s.client()
            await client.send(b"max\n")
            assert await receive_all(client) == b"hello max\n"
            await client.aclose()
        serving.close()
        await settle()

    run(test())
    assert [str(r.exc_info[1]) for r in caplog.records if r.exc_info] == ["nobody is there"] * 2
