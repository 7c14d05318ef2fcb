"""A SOCKS client that is not ours: curl hears every reply, and its data arrives."""

from __future__ import annotations

import asyncio
import errno

import pytest

from ptipc.aio import Dialer, Listener, Network, SocketStream, Stream
from ptipc.core.codecs import Address
from ptipc.core.dialects import PT1
from ptipc.core.escapes import Args
from ptipc.core.socks import reply_for
from tests.aio.loopback import dispatching, scenario, serving

pytestmark = pytest.mark.program("curl")


class Choosy:
    """A transport that takes the reason why it does not connect from its args."""

    name = "hello"

    def __init__(self) -> None:
        self.seen: list[Args] = []

    def dialer(self, args: Args, network: Network) -> Dialer:
        self.seen.append(args)
        return Fails(int(args["errno"])) if "errno" in args else network

    def listener(self, options: Args, network: Network) -> Listener:
        raise NotImplementedError


class Fails:
    def __init__(self, number: int) -> None:
        self.number = number

    async def dial(self, target: Address) -> Stream:
        raise OSError(self.number, "no")


async def web(stream: SocketStream) -> None:
    """One answer to one request, however it comes."""
    request = b""
    while b"\r\n\r\n" not in request:
        request += await stream.receive()
    await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")


async def curl(*words: str) -> tuple[int, str, str]:
    """Run curl: exit status, what it wrote, and what it said about it."""
    process = await asyncio.create_subprocess_exec(
        "curl",
        *("--disable", "--silent", "--show-error", "--verbose", "--noproxy", ""),
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


@pytest.mark.parametrize("scheme", ["socks4", "socks4a", "socks5", "socks5h"])
@scenario
async def test_curl_fetches_a_page(scheme: str) -> None:
    async with serving(web) as server, dispatching(Choosy(), client=["hello"]) as (_, host):
        status, output, errors = await curl(
            "--proxy", f"{scheme}://{host.address()}", f"http://localhost:{server.port}/", "-4"
        )
        assert (status, output) == (0, "hello"), errors


@scenario
async def test_the_two_fields_of_curl_are_one_list_of_args() -> None:
    """A list that was split in the middle is put together again (PT 1 section 3.5)."""
    transport = Choosy()
    async with serving(web) as server, dispatching(transport, client=["hello"]) as (_, host):
        status, output, errors = await curl(
            *("--proxy", f"socks5h://{host.address()}"),
            *("--proxy-user", "one=1;tw:o=2"),
            f"http://{server}/",
        )
        assert (status, output) == (0, "hello"), errors
    assert transport.seen == [{"one": "1", "two": "2"}]


@pytest.mark.parametrize(
    "number",
    [
        errno.EIO,
        errno.EACCES,
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.ECONNREFUSED,
        errno.ETIMEDOUT,
        errno.EAFNOSUPPORT,
    ],
    ids=errno.errorcode.__getitem__,
)
@scenario
async def test_curl_hears_why_there_is_no_connection(number: int) -> None:
    code = reply_for(OSError(number, "no"), PT1)
    async with dispatching(Choosy(), client=["hello"]) as (_, host):
        status, _, errors = await curl(
            *("--proxy", f"socks5h://{host.address()}"),
            *("--proxy-user", f"errno={number}:"),
            "http://127.0.0.1:9/",
        )
        assert status == 97
        assert f"({int(code)})" in errors
