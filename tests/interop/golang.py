"""Programs in Go, from Debian's sources, for tests that put ours beside them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

GOPATH = Path("/usr/share/gocode")
GOPTLIB = GOPATH / "src" / "git.torproject.org" / "pluggable-transports" / "goptlib.git"
DUMMIES = Path("/usr/share/doc/golang-goptlib-dev/examples")


def require_goptlib() -> None:
    """Skip the test without Debian's goptlib; where every program is required that is an error."""
    if not GOPTLIB.is_dir() or not DUMMIES.is_dir():
        pytest.skip("golang-goptlib-dev is not installed")


def build(source: Path, program: Path, *words: str) -> str:
    """Compile what is in a directory, or what ``words`` name there; the path of the program."""
    environ = {
        **os.environ,
        "GO111MODULE": "off",
        "GOPATH": str(GOPATH),
        "GOCACHE": str(program.parent / "cache"),
        "GOFLAGS": "",
    }
    command = ["go", "build", "-o", str(program), *words]
    subprocess.run(command, cwd=source, env=environ, check=True)
    return str(program)
