"""``ptipc serve``: whatever is a transport, of either layer, is served by its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from ptipc.core.dialects import PT3_0
from tests.aio.programs import DEADLINE, clean_environment, running, write_program

MODULE = """
    from ptipc.aio import StreamTransport

    print("loaded")
    hello = StreamTransport("hello")
    both = [hello, StreamTransport("other")]
    made = lambda: hello
    class Holder:
        inside = hello
    class Made:
        name = "hello"
        dialer = hello.dialer
        listener = hello.listener
    nothing = 3
    def broken():
        raise RuntimeError("it is broken")
"""


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    write_program(tmp_path, MODULE, "mytransport.py")
    monkeypatch.chdir(tmp_path)
    root = str(Path(__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))
    return [sys.executable, "-m", "ptipc", "serve"]


@pytest.mark.parametrize(
    "place",
    [
        "mytransport:hello",
        "mytransport:both",
        "mytransport:made",
        "mytransport:Holder.inside",
        "mytransport:Made",
        "mytransport.py:hello",
        "./mytransport.py:hello",
    ],
)
def test_a_transport_without_a_program_is_served(place: str, serve: list[str]) -> None:
    """What its module prints is no line of the conversation either."""
    with running([*serve, place], client=["hello"]) as program:
        program.until("CMETHODS DONE")
        program.close_stdin()
        assert program.end() == 0
        program.rest()
        assert 'LOG SEVERITY=info MESSAGE="loaded"' in program.lines
        assert any(line.startswith("CMETHOD hello") for line in program.lines)


def test_serve_takes_the_flags_of_the_host(serve: list[str]) -> None:
    with running([*serve, "mytransport:hello"], dialect=PT3_0, client=["hello"]) as program:
        program.until("VERSION 3.0")
        program.until("CMETHODS DONE")


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("mytransport", "not MODULE:OBJECT"),
        ("nothing_there:hello", "ModuleNotFoundError"),
        ("nothing_there.py:hello", "FileNotFoundError"),
        ("mytransport:missing", "AttributeError"),
        ("mytransport:nothing", "TypeError: mytransport:nothing: not a transport: 3"),
        ("mytransport:broken", "RuntimeError: it is broken"),
    ],
)
def test_what_cannot_be_loaded_is_said_to_the_host(place: str, text: str, serve: list[str]) -> None:
    with running([*serve, place], client=["hello"]) as program:
        assert text in program.until("ENV-ERROR the transports cannot be loaded: ")
        assert program.end() == 64


def test_serve_by_hand_says_how_to_try_it(serve: list[str]) -> None:
    done = subprocess.run(
        [*serve, "mytransport:hello"],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 64
    assert "ptipc demo --transport hello -- ptipc serve mytransport:hello" in done.stderr


# --- by its own layer -----------------------------------------------------------------------------

PARTS = """
    class Transport:
        name = "hello"

        def dialer(self, args, network){dialer}:
            return Dialer(network)

        def listener(self, options, network):
            raise NotImplementedError

    class Dialer:
        def __init__(self, network):
            self.network = network

        {start}def dial(self, target):
            return {wait}self.network.dial(target)

    one = Transport()
"""

WAYS = {
    "a transport of ours": (
        "from ptipc.{layer} import StreamTransport\none = StreamTransport('hello')\n",
        "",
    ),
    "a module that uses one": ("import ptipc.{layer} as pt\n", PARTS.replace("{dialer}", "")),
    "what the method says": (
        "from __future__ import annotations\nimport ptipc.aio, ptipc.blocking\n",
        PARTS.replace("{dialer}", " -> Dialer"),
    ),
}


@pytest.mark.parametrize("layer", ["aio", "blocking"])
@pytest.mark.parametrize("way", WAYS)
def test_a_transport_is_served_by_its_own_layer(
    layer: str, way: str, serve: list[str], tmp_path: Path
) -> None:
    """An application gets a connection by it."""
    head, rest = (
        text.replace("{layer}", layer)
        .replace("{start}", "async " if layer == "aio" else "")
        .replace("{wait}", "await " if layer == "aio" else "")
        for text in WAYS[way]
    )
    (tmp_path / "layered.py").write_text(head + textwrap.dedent(rest))
    with running([*serve, "layered:one"], client=["hello"]) as program:
        place = program.address()
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(DEADLINE)
            host, port = server.getsockname()
            request = b"\4\1" + port.to_bytes(2, "big") + socket.inet_aton(host) + b"\0"
            with socket.create_connection((place.host, place.port), DEADLINE) as client:
                client.sendall(request)
                assert client.recv(8)[:2] == b"\0\x5a"
                server.accept()[0].close()
        program.close_stdin()
        assert program.end() == 0


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (textwrap.dedent(PARTS).format(dialer="", start="", wait=""), "annotate what its method"),
        (
            "from ptipc import aio, blocking\n"
            "one = [aio.StreamTransport('a'), blocking.StreamTransport('b')]\n",
            "transports for ptipc.aio and for ptipc.blocking",
        ),
    ],
    ids=["a transport of neither", "transports of both"],
)
def test_what_no_layer_can_serve_is_said_to_the_host(
    source: str, text: str, serve: list[str], tmp_path: Path
) -> None:
    (tmp_path / "layered.py").write_text(source)
    with running([*serve, "layered:one"], client=["hello"]) as program:
        assert text in program.until("ENV-ERROR the transports cannot be loaded: TypeError: ")
        assert program.end() == 64
