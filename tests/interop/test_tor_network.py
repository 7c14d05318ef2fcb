"""Transports written with ptipc carry real traffic of a real Tor network, all of it on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import http.server
import os
import random
import re
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import define, field, frozen

from ptipc.aio import attach
from ptipc.core.bridgelines import BridgeLine
from ptipc.core.codecs import Address
from ptipc.core.dialects import PT1, Role
from ptipc.core.messages import SMethod, parse_line
from tests.interop.tornet import Network, Node, tor_network
from tests.interop.upstream import Proxy, in_a_thread

pytestmark = [pytest.mark.slow, pytest.mark.program("tor", "tor-gencert")]

EXAMPLES = Path(__file__).parents[2] / "examples"
SIZE = 1 << 20
TRIES = 3
"""How often a stream may fail while tor has not yet made up its mind about its circuits."""


def executable(name: str) -> str:
    return f"{name} exec {sys.executable} {EXAMPLES / name}.py"


# --- what is fetched, and by whom -----------------------------------------------------------------


class Web(http.server.ThreadingHTTPServer):
    """A web server with one page, which answers a POST with the hash of what was posted."""

    daemon_threads = True

    def __init__(self) -> None:
        self.page = random.randbytes(SIZE)
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(http.server.BaseHTTPRequestHandler):
    server: Web

    def do_GET(self) -> None:
        self._answer(self.server.page)

    def do_POST(self) -> None:
        posted = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(hashlib.sha256(posted).hexdigest().encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the test says what matters."""


def fetch(client: Node, web: Web, method: str, body: bytes = b"") -> bytes:
    """The answer to a request that goes through a circuit of a client."""

    async def connect() -> socket.socket:
        # tor's own port, as if it were that of a transport.
        target = Address("127.0.0.1", web.server_port)
        return await attach(f"127.0.0.1:{client.socks}").dial_socket(target, blocking=True)

    for left in reversed(range(TRIES)):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", web.server_port)
            with contextlib.closing(connection):
                connection.sock = asyncio.run(connect())
                connection.sock.settimeout(60)
                connection.request(method, "/", body)
                return connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            if not left:
                raise
    raise AssertionError("it was never tried")


# --- the network ----------------------------------------------------------------------------------


@frozen
class Bridge:
    """The bridge of all tests, and the place of each of its transports."""

    network: Network
    node: Node
    places: dict[str, int]

    def line(self, name: str) -> BridgeLine:
        """The bridge line for one of the transports, by what that has said itself."""
        said = self.node.wait_for(rf"Got a line from managed proxy .*: \((SMETHOD {name} .*)\)")
        method = parse_line(said[1], PT1, Role.SERVER)
        assert isinstance(method, SMethod)
        assert method.address == Address("127.0.0.1", self.places[name])
        return BridgeLine(
            transport=name,
            address=method.address,
            fingerprint=self.node.fingerprint,
            args=method.args,
        )


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    """A bridge with two transports, in a network of its own."""
    with tor_network(tmp_path_factory.mktemp("tor")) as network:
        places = {name: next(network.ports) for name in ("obfuscated", "hello")}
        lines = [
            line
            for name, port in places.items()
            for line in (
                f"ServerTransportPlugin {executable(name)}",
                f"ServerTransportListenAddr {name} 127.0.0.1:{port}",
            )
        ]
        with network.bridge("bridge", *lines) as node:
            yield Bridge(network, node, places)
            # Whoever leaves this block has seen the bridge, and both its transports, end.


@define
class Witness:
    """What the bridge has seen since the witness was called."""

    bridge: Node
    _start: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.bridge.read()
        self._start = len(self.bridge.log)

    def _seen(self, pattern: str) -> set[str]:
        self.bridge.read()
        return set(re.findall(pattern, self.bridge.log[self._start :]))

    @property
    def transports(self) -> set[str]:
        """What the Extended ORPort was told that clients come through."""
        seen = self._seen(r"Seen client from '127\.0\.0\.1' with transport '(.*?)'")
        return seen - {"<no transport>"}  # tor says that whenever somebody asks for a consensus

    @property
    def ports(self) -> set[int]:
        """What the Extended ORPort was told of the addresses that clients come from."""
        pattern = r"Received USERADDR.*We rewrite our address from '.*?' to '127\.0\.0\.1:(\d+)'"
        return {int(port) for port in self._seen(pattern)}


def ports_of(pid: int) -> set[int]:
    """The local ports of a process's TCP connections."""
    files = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if f"socket:[{words[9]}]" in files:
            found.add(int(words[1].rpartition(":")[2], 16))
    return found


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    server = Web()
    with in_a_thread(server):
        yield server


def check_traffic(client: Node, web: Web) -> None:
    """A megabyte comes down whole, and another goes up."""
    assert fetch(client, web, "GET") == web.page
    posted = random.randbytes(SIZE)
    assert fetch(client, web, "POST", posted) == hashlib.sha256(posted).hexdigest().encode()


@pytest.mark.parametrize("name", ["obfuscated", "hello"])
def test_a_client_reaches_the_network_through_the_transport(
    name: str, bridge: Bridge, web: Web
) -> None:
    """Bootstrap and a megabyte each way; the bridge is told what comes, and from where."""
    witness = Witness(bridge.node)
    with bridge.network.client(
        f"client{name}", f"ClientTransportPlugin {executable(name)}", f"Bridge {bridge.line(name)}"
    ) as client:
        check_traffic(client, web)
        (transport,) = client.transports
        assert witness.ports & ports_of(transport)
        assert witness.transports == {name}
        assert "STATUS TYPE=version" in client.log
        assert "Unknown line" not in client.log
    # The block has seen the client's tor end, and its transport with it.


def test_everything_goes_through_an_upstream_proxy(bridge: Bridge, web: Web) -> None:
    """With a proxy in tor's configuration all traffic of the transport passes it."""
    witness = Witness(bridge.node)
    proxy = Proxy()
    line = bridge.line("obfuscated")
    with (
        in_a_thread(proxy),
        bridge.network.client(
            "clientproxy",
            f"ClientTransportPlugin {executable('obfuscated')}",
            f"Bridge {line}",
            f"Socks5Proxy 127.0.0.1:{proxy.server_address[1]}",
            f"Socks5ProxyUsername {proxy.name.decode()}",
            f"Socks5ProxyPassword {proxy.password.decode()}",
        ) as client,
    ):
        check_traffic(client, web)
        assert "(PROXY DONE)" in client.log
        assert {passage.target for passage in proxy.passages} == {line.address}
        assert proxy.carried > 2 * SIZE
        # What the bridge saw came from the proxy, and nothing from anywhere else.
        assert witness.ports
        assert witness.ports <= {passage.port for passage in proxy.passages}
        assert witness.transports == {"obfuscated"}


def test_what_the_transports_say_is_in_the_log_of_tor(bridge: Bridge) -> None:
    """LOG lines become lines of tor's log, and tor understands each line that it is told."""
    log = bridge.node.log
    assert re.search(r"\[info\] .*Managed proxy \".*\": a new key was made", log)
    for name in ("obfuscated", "hello"):
        assert f'STATUS TYPE=version IMPLEMENTATION="{name}" VERSION="1.0"' in log
    assert "Unknown line" not in log
    assert "defined message TYPE" not in log


def test_the_key_of_the_server_is_where_it_belongs(bridge: Bridge) -> None:
    """Nobody else can read the key, and it is the only file that was written."""
    state = bridge.node.directory / "pt_state"
    assert [path.name for path in state.iterdir()] == ["obfuscated.key"]
    assert stat.S_IMODE((state / "obfuscated.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
