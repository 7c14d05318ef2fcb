"""A fake host starts a process as it is told and takes down what it says, right or wrong."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from ptipc.core.dialects import PT2_2
from ptipc.core.errors import LocalProtocolError
from ptipc.testing.fakehost import FakeHost
from ptipc.testing.fakept import Exit, Stderr, write_fake_pt
from tests.testing.programs import PLAIN

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the transport is one of Unix")


def test_it_hears_a_client_and_ends_it() -> None:
    with FakeHost(PLAIN, client=["hello"]) as host:
        assert host.wait_for("CMETHODS DONE") == "CMETHODS DONE"
        assert host.lines[0] == "VERSION 1"
        assert host.returncode is None
        assert host.close() == 0


def test_it_hears_a_server_and_sends_it_a_signal() -> None:
    with FakeHost(PLAIN, server={"hello": "127.0.0.2:0"}) as host:
        assert host.wait_for("SMETHOD hello 127.0.0.2:*")
    with FakeHost(PLAIN, server=["hello"]) as host:
        assert host.wait_for("SMETHOD hello 127.0.0.1:*")
        host.signal(signal.SIGTERM)
        assert host.wait() == 0


def test_what_a_process_is_told_can_be_wrong() -> None:
    """A variable is replaced or left out, whatever the settings say."""
    wrong = {"TOR_PT_PROXY": "what?", "TOR_PT_STATE_LOCATION": None}
    with FakeHost(PLAIN, client=["hello"], set=wrong) as host:
        assert host.wait_for("PROXY-ERROR *")
        assert "TOR_PT_STATE_LOCATION" not in host.environment
        assert host.wait() == 1


def test_what_is_wrong_is_taken_down_as_it_is(tmp_path: Path) -> None:
    fake = write_fake_pt(tmp_path / "a", "what?", Stderr("\udcff"), Exit(3))
    with FakeHost(fake.command, client=["foo"], dialect=PT2_2, flags=["-strange"]) as host:
        assert host.wait_for("CMETHODS DONE") is None
        assert host.wait() == 3
        assert (host.lines, host.stderr) == (["what?"], ["\udcff"])
        assert host.command[-1] == "-strange"


def test_what_cannot_be_said_is_our_own_mistake() -> None:
    with pytest.raises(LocalProtocolError):
        FakeHost(PLAIN, server=["hello"], target=None)
    with pytest.raises(FileNotFoundError):
        FakeHost(["/nonexistent/program"], client=["hello"])


def test_it_leaves_no_process_behind() -> None:
    with FakeHost(PLAIN, client=["hello"]) as host:
        assert host.wait_for("CMETHODS DONE")
    assert host.returncode == -signal.SIGKILL
