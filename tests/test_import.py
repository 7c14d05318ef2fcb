"""Importing ptipc is cheap: a transport process is something that a user waits for."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

EXPENSIVE = {"asyncio", "email", "logging", "socket", "ssl", "subprocess"}

A_HOSTS = {
    "argparse",
    "hmac",
    "json",
    "ptipc.children",
    "ptipc.core.bridgelines",
    "ptipc.core.launch",
    "ptipc.launching",
    "secrets",
    "shutil",
    "tempfile",
}
"""What only a host needs, or a few of all transports."""

TRANSPORT = """
import sys
from ptipc.{layer} import Stream, StreamTransport, map_stream, run
try:
    run(StreamTransport("idle"), argv=[])
finally:
    print(*sys.modules, file=sys.stderr)
"""


def test_the_front_door_loads_nothing_expensive() -> None:
    program = (
        "import sys\nbefore = set(sys.modules)\nimport ptipc\nprint(*set(sys.modules) - before)"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, check=True, text=True, timeout=60
    ).stdout
    loaded = set(output.split())
    assert "ptipc" in loaded
    assert loaded.isdisjoint(EXPENSIVE)
    assert {name for name in loaded if name.startswith("ptipc.core")} == set()


def loaded_by_a_launch(layer: str) -> set[str]:
    """What a transport process has loaded once it has been ready and is gone."""
    host = {
        "TOR_PT_MANAGED_TRANSPORT_VER": "1",
        "TOR_PT_STATE_LOCATION": "/nonexistent",
        "TOR_PT_CLIENT_TRANSPORTS": "idle",
        "TOR_PT_EXIT_ON_STDIN_CLOSE": "1",
    }
    with subprocess.Popen(
        [sys.executable, "-c", TRANSPORT.format(layer=layer)],
        env={**os.environ, **host},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert "CMETHODS DONE\n" in process.stdout
        _, said = process.communicate(timeout=60)
    return set(said.split())


@pytest.mark.parametrize("layer", ["aio", "blocking"])
def test_a_launch_loads_nothing_of_a_hosts(layer: str) -> None:
    loaded = loaded_by_a_launch(layer)
    assert f"ptipc.{layer}.clients" in loaded
    assert loaded & A_HOSTS == set()
    assert loaded & {f"ptipc.{layer}.{room}" for room in ("host", "process", "servers")} == set()


def test_a_launch_loads_no_datagrams_unless_they_are_asked_for() -> None:
    loaded = loaded_by_a_launch("aio")
    assert loaded & {"ptipc.aio.datagrams", "ptipc.aio.udp", "ptipc.core.datagrams"} == set()


def test_a_launch_in_threads_loads_no_asyncio() -> None:
    """Not even all that there is for threads."""
    assert loaded_by_a_launch("blocking") & {"asyncio", "ssl", "subprocess"} == set()
    program = "import sys\nfrom ptipc.blocking import *\nassert 'asyncio' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
