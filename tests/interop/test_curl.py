"""curl dials through examples/hello.py."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from ptipc.aio import launch

pytestmark = pytest.mark.program("curl")

HELLO = Path(__file__).parents[2] / "examples" / "hello.py"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the test says what matters."""


@contextmanager
def web_server(directory: Path) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(directory)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def curl(*words: str) -> tuple[int, bytes]:
    process = await asyncio.create_subprocess_exec(
        "curl", "--silent", "--show-error", "--max-time", "20", *words, stdout=-1, stderr=-2
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output


@pytest.mark.parametrize("scheme", ["socks4", "socks4a", "socks5", "socks5h"])
def test_curl_fetches_through_the_socks_port(scheme: str, tmp_path: Path) -> None:
    """Every kind of SOCKS that curl speaks works on the one port."""
    (tmp_path / "page").write_bytes(b"content " * 10_000)

    async def main(port: int) -> tuple[int, bytes]:
        async with launch([sys.executable, str(HELLO)], client=["hello"]) as process:
            proxy = f"{scheme}://{process.methods['hello'].address}"
            # The name is for the kinds that leave it to the proxy.
            host = "localhost" if scheme in ("socks4a", "socks5h") else "127.0.0.1"
            return await curl("--proxy", proxy, f"http://{host}:{port}/page")

    with web_server(tmp_path) as port:
        assert asyncio.run(main(port)) == (0, b"content " * 10_000)
