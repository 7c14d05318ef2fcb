"""goptlib's own example programs, driven by our host side and beside our transports."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from ptipc.aio import Stream, launch
from ptipc.core.codecs import Address
from ptipc.core.launch import Client
from tests.aio.hosting import echo_server, nothing_left, run
from tests.interop.golang import DUMMIES, build, require_goptlib

pytestmark = pytest.mark.program("go")

OURS = [sys.executable, str(Path(__file__).parents[2] / "examples" / "hello.py")]

ARGS = {"shared-secret": "rahasia", "sp;ec=ial\\": "\\=;", "empty": ""}


@pytest.fixture(scope="module")
def dummies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The command of each of the two."""
    require_goptlib()
    place = tmp_path_factory.mktemp("goptlib")
    names = ("dummy-client", "dummy-server")
    return {name: [build(DUMMIES / name, place / name)] for name in names}


async def says_the_same(stream: Stream) -> bool:
    """Whether an echo answers with what it was told."""
    said = bytes(range(256)) * 200
    sending = asyncio.create_task(stream.send(said))
    heard = b""
    while len(heard) < len(said) and (data := await stream.receive()):
        heard += data
    await sending
    await stream.aclose()
    return heard == said


def test_both_are_launched_and_carry_data(dummies: dict[str, list[str]]) -> None:
    async def main() -> None:
        async with (
            echo_server() as target,
            launch(
                dummies["dummy-server"],
                server={"dummy": "127.0.0.1:0"},
                options={"dummy": ARGS},
                target=target,
            ) as server,
            launch(dummies["dummy-client"], client=["dummy"]) as client,
        ):
            assert await says_the_same(await client.dial(server.bridge_line("dummy")))
            # It does not look at its args, but has to make sense of them.
            where = server.method("dummy").address
            assert await says_the_same(await client.dial("dummy", where, ARGS))
        assert server.returncode == client.returncode == 0

    with nothing_left():
        run(main())


def test_the_server_speaks_to_our_extended_port(dummies: dict[str, list[str]]) -> None:
    seen: list[Client] = []

    async def handler(stream: Stream, client: Client) -> None:
        seen.append(client)
        await stream.send(b"hello")

    async def main() -> None:
        async with (
            launch(
                dummies["dummy-server"], server={"dummy": "127.0.0.1:0"}, handler=handler
            ) as server,
            launch(dummies["dummy-client"], client=["dummy"]) as client,
        ):
            stream = await client.dial(server.bridge_line("dummy"))
            assert await stream.receive() == b"hello"
            await stream.aclose()

    with nothing_left():
        run(main())
    assert [client.transport for client in seen] == ["dummy"]
    assert all(client.address and client.address.host == "127.0.0.1" for client in seen)


@pytest.mark.parametrize("ours", ["client", "server"])
def test_ours_talks_to_theirs(dummies: dict[str, list[str]], ours: str) -> None:
    """Two transports that do nothing look the same on the wire."""
    near = (OURS, "hello") if ours == "client" else (dummies["dummy-client"], "dummy")
    far = (OURS, "hello") if ours == "server" else (dummies["dummy-server"], "dummy")

    async def main() -> None:
        async with (
            echo_server() as target,
            launch(far[0], server={far[1]: "127.0.0.1:0"}, target=target) as server,
            launch(near[0], client=[near[1]]) as client,
        ):
            where = server.method(far[1]).address
            assert await says_the_same(await client.dial(near[1], where))

    with nothing_left():
        run(main())


def test_the_client_says_that_a_target_refuses(dummies: dict[str, list[str]]) -> None:
    async def main() -> None:
        async with launch(dummies["dummy-client"], client=["dummy"]) as client:
            with pytest.raises(OSError, match="0x01"):
                await client.dial("dummy", Address("127.0.0.1", 9))

    with nothing_left():
        run(main())
