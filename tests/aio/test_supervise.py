"""Processes that are kept running: restarts, their limits, and changes while they run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ptipc.aio import GaveUp, Supervisor, supervise
from ptipc.core.bridgelines import BridgeLine
from ptipc.core.codecs import Address
from ptipc.core.errors import LocalProtocolError
from ptipc.core.launch import LaunchError, Plan, ProcessEnded, plan
from ptipc.core.supervision import Abandoned, Backoff, Down, Said, Up

from .hosting import (
    PATIENT,
    LoopFactory,
    cancelled_at,
    echo_server,
    loop_factories,
    nothing_left,
    program,
    run,
)

loops = pytest.mark.parametrize("loop", loop_factories().values(), ids=loop_factories())

HASTY = Backoff(first=0.001, cap=0.01, give_up=3, steady=1000)


def one(*words: str, **settings: Any) -> Plan:
    """A plan for a transport that is called one."""
    words = words or ("honest",)
    settings.setdefault("client", ["one"])
    return plan(program(*words), stop_timeouts=PATIENT, **settings)


async def echoes(supervisor: Supervisor, target: Address, transport: str = "one") -> bool:
    async with asyncio.timeout(20):
        stream = await supervisor.dial(transport, target)
        try:
            await stream.send(b"hello")
            return await stream.receive() == b"hello"
        finally:
            await stream.aclose()


async def until_it_fails(supervisor: Supervisor, target: Address) -> None:
    while True:
        assert await echoes(supervisor, target)


def kill(supervisor: Supervisor, transport: str = "one") -> None:
    pid = supervisor.process(transport).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def crashing(tmp_path: Path, starts: int) -> Iterator[Plan]:
    """A plan for a process that is ready as many times, and then never again."""
    script = tmp_path / "program.sh"
    honest = " ".join(program("honest"))
    script.write_text(f"""#!/bin/sh
echo x >> {tmp_path}/starts
[ $(wc -l < {tmp_path}/starts) -le {starts} ] && exec {honest}
echo VERSION 1
exit 4
""")
    script.chmod(0o755)
    yield plan([script], client=["one"], stop_timeouts=PATIENT)


# --- restarts -------------------------------------------------------------------------------------


@loops
def test_a_process_that_ends_is_started_again(loop: LoopFactory) -> None:
    async def main() -> list[Any]:
        async with (
            echo_server() as target,
            supervise(one(), backoff=HASTY, random=lambda: 0.0) as supervisor,
        ):
            events = supervisor.events()
            assert await echoes(supervisor, target)
            kill(supervisor)
            # Whoever connects at once has to wait, and does.
            assert await echoes(supervisor, target)
            process = supervisor.process("one")
        assert process.returncode == 0
        return [event async for event in events if not isinstance(event, Said)]

    with nothing_left():
        down, up = run(main(), loop)
    assert isinstance(down, Down)
    assert down.reason == "it ended with signal SIGKILL"
    assert (down.failures, down.retry) == (1, 0.001)
    assert isinstance(up, Up)
    assert up.restarts == 1


@loops
def test_all_the_ways_to_dial_wait_for_it(loop: LoopFactory) -> None:
    async def main() -> None:
        hasty = Backoff(first=0.001, give_up=None)
        async with echo_server() as target, supervise(one(), backoff=hasty) as supervisor:
            kill(supervisor)
            with await supervisor.dial_socket("one", target) as connection:
                assert connection.gettimeout() == 0
            kill(supervisor)
            reader, writer = await supervisor.open_connection("one", target)
            writer.write(b"hello\n")
            assert await reader.readline() == b"hello\n"
            writer.close()
            await writer.wait_closed()
            kill(supervisor)
            stream = await supervisor.dial(BridgeLine(transport="one", address=target))
            await stream.aclose()

    with nothing_left():
        run(main(), loop)


@loops
def test_whoever_is_not_patient_is_told_at_once(loop: LoopFactory) -> None:
    slow = Backoff(first=1000, cap=1000)

    async def main() -> None:
        async with (
            echo_server() as target,
            supervise(one(), backoff=slow, patience=0) as supervisor,
        ):
            assert await echoes(supervisor, target)
            process = supervisor.process("one")
            kill(supervisor)
            with pytest.raises(ProcessEnded):
                await until_it_fails(supervisor, target)
            await process.exited.wait()
            with pytest.raises(ProcessEnded, match="is down: "):
                await supervisor.dial("one", target)
            with pytest.raises(ConnectionError, match="is down: "):
                supervisor.process("one")

    with nothing_left():
        run(main(), loop)


@loops
def test_one_that_fails_again_and_again_is_given_up(loop: LoopFactory, tmp_path: Path) -> None:
    async def main(plan: Plan) -> list[Any]:
        heard: list[Any] = []
        async with (
            echo_server() as target,
            supervise(plan, backoff=HASTY, on_event=heard.append) as supervisor,
        ):
            kill(supervisor)
            with pytest.raises(GaveUp, match="ended with exit 4 before it was ready"):
                await until_it_fails(supervisor, target)
            with pytest.raises(GaveUp):
                supervisor.process("one")
            assert supervisor.plans == (plan,)
        return [event for event in heard if not isinstance(event, Said)]

    with nothing_left(), crashing(tmp_path, 1) as plan:
        events = run(main(plan), loop)
    assert [type(event) for event in events] == [Up, Down, Down, Abandoned]
    assert [event.failures for event in events if isinstance(event, Down)] == [1, 2]
    assert len((tmp_path / "starts").read_text().split()) == 3


def test_one_that_held_out_for_long_begins_anew() -> None:
    async def main() -> list[int]:
        failures: list[int] = []
        steady = Backoff(first=0.001, give_up=2, steady=0.0)
        async with asyncio.timeout(30), supervise(one(), backoff=steady) as supervisor:
            events = supervisor.events()
            kill(supervisor)
            async for event in events:
                if isinstance(event, Down):
                    failures.append(event.failures)
                elif isinstance(event, Up) and len(failures) < 4:
                    kill(supervisor)
                elif isinstance(event, Up):
                    break
        return failures

    with nothing_left():
        assert run(main()) == [1, 1, 1, 1]


def test_what_will_not_change_is_not_tried_again(tmp_path: Path) -> None:
    """A program that is gone, or says that its configuration is bad."""
    script = tmp_path / "program.sh"
    script.write_text("#!/bin/sh\nexec " + " ".join(program("honest")) + "\n")
    script.chmod(0o755)

    async def main() -> None:
        gone = plan([script], client=["one"])
        async with echo_server() as target, supervise(gone, backoff=HASTY) as supervisor:
            script.unlink()
            kill(supervisor)
            with pytest.raises(GaveUp, match="No such file"):
                await until_it_fails(supervisor, target)

    with nothing_left():
        run(main())


@loops
def test_what_cannot_be_started_at_all_is_said_at_once(loop: LoopFactory) -> None:
    async def main(*plans: Plan) -> None:
        async with supervise(*plans, backoff=HASTY):
            pass

    with nothing_left():
        with pytest.raises(LaunchError, match="exit 7"):
            run(main(one(), one("crash_early", client=["two"])), loop)
        with pytest.raises(LocalProtocolError, match="target"):
            run(main(plan(program("honest"), server=["one"])), loop)


# --- changes --------------------------------------------------------------------------------------


@loops
def test_only_what_has_changed_is_started_again(loop: LoopFactory) -> None:
    async def main() -> None:
        async with (
            echo_server() as target,
            supervise(one(), one(client=["two"]), one(client=["three"])) as supervisor,
        ):
            before = {name: supervisor.process(name) for name in ("one", "two", "three")}
            stream = await supervisor.dial("one", target)
            dialer = supervisor.dialer("two")
            await supervisor.reconfigure(
                one(), one("honest", "4", client=["two"]), one(client=["four"])
            )
            # A connection through what is as it was does not notice.
            await stream.send(b"hello")
            assert await stream.receive() == b"hello"
            await stream.aclose()
            assert supervisor.process("one") is before["one"]
            assert supervisor.process("two") is not before["two"]
            assert before["two"].returncode == before["three"].returncode == 0
            with pytest.raises(LookupError, match="no plan"):
                await supervisor.dial("three", target)
            # A dialer that somebody kept finds the new one.
            await (await dialer.dial(target)).aclose()
            assert await echoes(supervisor, target, "four")
            # Nothing at all is no change.
            four = supervisor.process("four")
            await supervisor.reconfigure(*supervisor.plans)
            assert supervisor.process("four") is four

    with nothing_left():
        run(main(), loop)


def test_a_change_that_fails_leaves_the_rest(tmp_path: Path) -> None:
    async def main() -> None:
        async with echo_server() as target, supervise(one()) as supervisor:
            bad, good = one("crash_early", client=["bad"]), one(client=["good"])
            with pytest.raises(LaunchError, match="exit 7"):
                await supervisor.reconfigure(one(), bad, good)
            assert supervisor.plans == (one(), good)
            assert await echoes(supervisor, target)
            assert await echoes(supervisor, target, "good")

    with nothing_left():
        run(main())


def test_a_client_is_meant_where_a_server_has_the_name_too(tmp_path: Path) -> None:
    script = tmp_path / "server.sh"
    script.write_text(
        "#!/bin/sh\necho VERSION 1\necho SMETHOD one 127.0.0.1:9\necho SMETHODS DONE\ncat\n"
    )
    script.chmod(0o755)

    async def main() -> None:
        server = plan([script], server=["one"], target="127.0.0.1:9")
        async with echo_server() as target, supervise(server) as supervisor:
            with pytest.raises(LookupError, match="a server's"):
                await supervisor.dial("one", target)
            await supervisor.reconfigure(server, one())
            assert await echoes(supervisor, target)

    with nothing_left():
        run(main())


@loops
def test_cancelling_at_any_await_leaves_nothing(loop: LoopFactory) -> None:
    async def work() -> None:
        async with supervise(one(), one(client=["two"]), backoff=HASTY) as supervisor:
            await supervisor.reconfigure(one(), one(client=["three"]))

    async def main(point: int) -> bool:
        async def interrupted() -> None:
            await cancelled_at(work(), point)

        try:
            await asyncio.create_task(interrupted())
        except asyncio.CancelledError:
            return True
        return False

    point = 1
    cancelled = True
    while cancelled:
        with nothing_left():
            cancelled = run(main(point), loop)
        point += 1
    assert point > 3


def test_plans_may_have_ears_of_their_own() -> None:
    heard: list[Any] = []

    async def main() -> None:
        async with supervise(one(on_event=heard.append)):
            pass

    run(main())
    assert heard
