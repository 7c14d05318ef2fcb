"""What tests of real programs ask of the operating system."""

from __future__ import annotations

import time
from pathlib import Path

from ptipc.sockets import free_address


def is_running(pid: int) -> bool:
    """Whether a process is there and not only waiting to be reaped."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] not in ("Z", "X")


def free_port() -> int:
    """A port that was free a moment ago, for programs that do not take 0."""
    return free_address().port


def wait_for_end(pid: int, seconds: float = 10.0) -> None:
    """Wait until a process has ended.  Raises AssertionError if it does not."""
    deadline = time.monotonic() + seconds
    while is_running(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.02)
