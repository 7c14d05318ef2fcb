"""A real tor on loopback, for as long as a test needs it."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

# Nothing but loopback is ever asked: the only authority is a port on which nobody listens.
NOWHERE = [
    "DirAuthority nowhere orport=9 no-v2 v3ident=" + "A" * 40 + " 127.0.0.1:9 " + "B" * 40,
    "TestingTorNetwork 1",
]


@frozen
class Tor:
    """A tor that runs: its process and its log."""

    process: subprocess.Popen[bytes]
    data: Path

    @property
    def log(self) -> str:
        """Everything it has logged so far."""
        path = self.data / "log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def wait_for(self, text: str, seconds: float = 30.0) -> str:
        """The line of the log that holds a text, once it is there."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for line in self.log.splitlines():
                if text in line:
                    return line
            if self.process.poll() is not None:
                raise AssertionError(f"tor ended with {self.process.returncode}:\n{self.log}")
            time.sleep(0.05)
        raise AssertionError(f"tor never logged {text!r}:\n{self.log}")


@contextlib.contextmanager
def tor(data: Path, *lines: str) -> Iterator[Tor]:
    """Run tor with some lines of configuration, and end it."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    torrc = data / "torrc"
    torrc.write_text(
        "\n".join(
            [
                *NOWHERE,
                f"DataDirectory {data}",
                f"Log [pt,config,general]info [*]notice file {data / 'log'}",
                "SafeLogging 0",
                "SocksPort 0",
                f"GeoIPFile {data / 'geoip'}",
                f"GeoIPv6File {data / 'geoip6'}",
                *lines,
            ]
        )
        + "\n"
    )
    for name in ("geoip", "geoip6", "defaults"):
        (data / name).touch()
    process = subprocess.Popen(
        ["tor", "-f", str(torrc), "--defaults-torrc", str(data / "defaults"), "--hush"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(data), "TZ": "UTC"},
    )
    try:
        yield Tor(process, data)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
