"""The real tor launches transports that are written with ptipc."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.interop.processes import free_port, is_running, wait_for_end
from tests.interop.tor import Tor, tor

pytestmark = pytest.mark.program("tor")

HELLO = Path(__file__).parents[2] / "examples" / "hello.py"
EXEC = f"exec {sys.executable} {HELLO}"


def said_by_the_transport(host: Tor) -> list[str]:
    return re.findall(r"Got a line from managed proxy '.*?': \((.*)\)", host.log)


def pid_of_the_transport(host: Tor) -> int:
    match = re.search(r"PID '(\d+)'", host.wait_for("has spawned with PID"))
    assert match is not None
    return int(match[1])


def test_tor_configures_a_client_transport(tmp_path: Path) -> None:
    """tor understands every line, registers the transport, and ends it when it ends itself."""
    with tor(
        tmp_path / "tor",
        "UseBridges 1",
        "Bridge hello 127.0.0.1:9 key=value",
        f"ClientTransportPlugin hello {EXEC}",
    ) as host:
        pid = pid_of_the_transport(host)
        host.wait_for("Successfully registered transport hello")
        host.wait_for("configuration completed!")
        said = said_by_the_transport(host)
        assert [line.split()[0] for line in said[:4]] == [
            "VERSION",
            "STATUS",
            "CMETHOD",
            "CMETHODS",
        ]
        assert is_running(pid)
    wait_for_end(pid)
    assert "Unknown line" not in host.log


def test_tor_hears_why_a_transport_could_not_connect(tmp_path: Path) -> None:
    """The SOCKS reply that the transport chose for a refused connection arrives in tor's log."""
    with tor(
        tmp_path / "tor",
        "UseBridges 1",
        f"Bridge hello 127.0.0.1:{free_port()}",
        f"ClientTransportPlugin hello {EXEC}",
    ) as host:
        assert "Connection refused" in host.wait_for("unable to connect OR connection")


def test_tor_configures_a_server_transport(tmp_path: Path) -> None:
    """tor registers where the transport listens, and ends it when it ends itself."""
    port = free_port()
    with tor(
        tmp_path / "tor",
        "BridgeRelay 1",
        "ORPort 127.0.0.1:auto",
        "ExtORPort 127.0.0.1:auto",
        "AssumeReachable 1",
        "PublishServerDescriptor 0",
        "Address 127.0.0.1",
        "AddressDisableIPv6 1",
        f"ServerTransportPlugin hello {EXEC}",
        f"ServerTransportListenAddr hello 127.0.0.1:{port}",
    ) as host:
        pid = pid_of_the_transport(host)
        host.wait_for(f"Registered server transport 'hello' at '127.0.0.1:{port}'")
        host.wait_for("configuration completed!")
        said = said_by_the_transport(host)
        assert [line.split()[0] for line in said[:4]] == [
            "VERSION",
            "STATUS",
            "SMETHOD",
            "SMETHODS",
        ]
    wait_for_end(pid)
