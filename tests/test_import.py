"""Importing ptipc is cheap: a transport process is something that a user waits for."""

from __future__ import annotations

import json
import subprocess
import sys

EXPENSIVE = ("asyncio", "email", "logging", "socket", "ssl", "subprocess")

PROGRAM = """
import json, sys
before = set(sys.modules)
import ptipc
json.dump(sorted(set(sys.modules) - before), sys.stdout)
"""


def test_the_front_door_loads_nothing_expensive() -> None:
    output = subprocess.run(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, check=True, timeout=60
    ).stdout
    loaded = json.loads(output)
    assert "ptipc" in loaded
    assert [name for name in loaded if name.split(".")[0] in EXPENSIVE] == []
