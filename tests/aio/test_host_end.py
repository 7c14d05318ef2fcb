"""The end of transport processes: whenever it comes, and whoever forgets it, nothing is left."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest

from ptipc.aio import TransportProcess, launch
from ptipc.core.dialects import Stream as Output
from ptipc.core.launch import LaunchError, plan

from .hosting import (
    IMPATIENT,
    LoopFactory,
    cancelled_at,
    children,
    echo_server,
    loop_factories,
    nothing_left,
    program,
    run,
)

loops = pytest.mark.parametrize("loop", loop_factories().values(), ids=loop_factories())

HONEST = program("honest")


@loops
def test_it_can_be_stopped_early_and_again(loop: LoopFactory) -> None:
    async def main() -> None:
        async with launch(HONEST, client=["one"]) as process:
            await asyncio.gather(process.stop(), process.stop())
            assert process.returncode == 0
            assert process.exited.is_set()
        unstarted = TransportProcess(plan(HONEST, client=["one"]))
        await unstarted.stop()
        assert unstarted.pid is None
        assert unstarted.returncode is None

    with nothing_left():
        run(main(), loop)


@loops
@pytest.mark.parametrize("name", ["honest", "silent", "deaf"])
@pytest.mark.parametrize("more", [(), (1,), (1, 2)])
def test_cancelling_a_launch_at_any_await_leaves_nothing(
    loop: LoopFactory, name: str, more: tuple[int, ...]
) -> None:
    """Once, and again while the first is being dealt with."""

    async def work() -> None:
        settings: dict[str, Any] = {"timeout": 0.2} if name == "silent" else {}
        async with launch(program(name), client=["one"], stop_timeouts=IMPATIENT, **settings):
            pass

    async def main(point: int) -> bool:
        points = (point, *(point + each for each in more))
        try:
            await asyncio.create_task(interrupted(work(), points))
        except asyncio.CancelledError:
            return True
        except LaunchError:
            assert name == "silent"
        return False

    point = 1
    cancelled = True
    while cancelled:
        with nothing_left():
            cancelled = run(main(point), loop)
        point += 1
    assert point > 3


async def interrupted(work: Any, points: tuple[int, ...]) -> Any:
    return await cancelled_at(work, *points)


@loops
def test_cancelling_a_launch_after_any_turn_of_the_loop_leaves_nothing(loop: LoopFactory) -> None:
    async def main(turns: int) -> bool:
        async def work() -> None:
            async with launch(HONEST, client=["one"]):
                pass

        task = asyncio.create_task(work())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return True
        return False

    turns = 0
    cancelled = True
    while cancelled:
        with nothing_left():
            cancelled = run(main(turns), loop)
        turns += 1 + turns // 4


@loops
@pytest.mark.parametrize("way", ["dial", "dial_socket", "open_connection"])
def test_cancelling_a_dial_at_any_await_leaves_nothing(loop: LoopFactory, way: str) -> None:
    async def main() -> int:
        async with echo_server() as target, launch(HONEST, client=["one"]) as process:
            point = 0
            while True:
                point += 1
                work = getattr(process, way)("one", target, {"k": "v"})
                try:
                    found = await asyncio.create_task(interrupted(work, (point,)))
                except asyncio.CancelledError:
                    continue
                if way == "dial":
                    await found.aclose()
                elif way == "dial_socket":
                    found.close()
                else:
                    found[1].close()
                    await found[1].wait_closed()
                return point

    with nothing_left():
        # A process that answers before we look leaves nothing to wait for, but not every time.
        assert any(run(main(), loop) > 1 for _ in range(20))


def drop(things: list[Any]) -> None:
    things.clear()
    gc.collect()


@loops
def test_one_that_is_dropped_is_ended_and_warned_about(loop: LoopFactory) -> None:
    async def main() -> None:
        process = [TransportProcess(plan(HONEST, client=["one"]))]
        await process[0].start()
        with pytest.warns(ResourceWarning, match="was not stopped"):
            drop(process)
        assert children() == []

    with nothing_left():
        run(main(), loop)


CHATTERING = [
    *("/bin/sh", "-c"),
    "echo VERSION 1; echo CMETHOD one socks5 127.0.0.1:9; echo CMETHODS DONE; yes",
]


@loops
def test_one_that_is_dropped_while_it_talks_may_be_read_to_its_end(loop: LoopFactory) -> None:
    """Nobody closes what a thread reads from but that thread, which fails otherwise."""

    async def main() -> None:
        process = [TransportProcess(plan(CHATTERING, client=["one"]))]
        await process[0].start()
        with pytest.warns(ResourceWarning, match="was not stopped"):
            drop(process)
        while any(thread.name.startswith("ptipc") for thread in threading.enumerate()):
            await asyncio.sleep(0)

    with nothing_left():
        run(main(), loop)


def test_an_event_loop_that_is_closed_too_early_leaves_nothing() -> None:
    async def main() -> TransportProcess:
        process = TransportProcess(plan(HONEST, client=["one"]))
        await process.start()
        return process

    with nothing_left():
        process = [run(main())]
        with pytest.warns(ResourceWarning, match="was not stopped"):
            drop(process)


def test_a_context_that_is_forgotten_is_left_with_the_event_loop() -> None:
    async def main() -> None:
        context = launch(HONEST, client=["one"])
        await context.__aenter__()

    with nothing_left():
        run(main())


def test_data_for_a_process_can_be_replayed() -> None:
    """What an event loop does can be done by hand, for a test or a recorded conversation."""

    async def main() -> TransportProcess:
        process = TransportProcess(plan(["pt"], client=["one"]))
        process.receive(Output.STDOUT, b"VERSION 1\nCMETHOD one socks5 127.0.0.1:9\n")
        process.receive(Output.STDERR, b"hello\n")
        return process

    process = asyncio.run(main())
    assert list(process.methods) == ["one"]
    assert process.stderr == ["hello"]
