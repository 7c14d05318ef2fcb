"""An adapter for tor: which bridge lines and names of transports does its configuration take?

tor only says yes or no, so the answers are ``accepted`` or an error.  It does not need ptipc:

    ptipc check adapter -- python examples/adapters/tor_bridge_lines.py
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

TOR = "tor"


def version() -> str:
    said = subprocess.run([TOR, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"[0-9][0-9.]*[0-9]", said)
    return found[0] if found else ""


def lines_of(op: str, text: str) -> list[str]:
    """The lines of a torrc that has a text in it."""
    if op == "transport-name/parse":
        return [f"ClientTransportPlugin {text} exec /bin/true"]
    line = text if text.lower().startswith("bridge ") else f"Bridge {text}"
    name = line.split(" ")[1]
    plugin = f"ClientTransportPlugin {name} exec /bin/true"
    return [line, *([plugin] if re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name) else [])]


def run(op: str, text: str, directory: Path) -> dict[str, Any]:
    if text.strip() != text or not text or any(char in text for char in '\n\0#"'):
        return {"skip": "a torrc cannot say that"}
    torrc = directory / "torrc"
    torrc.write_text("\n".join([f"DataDirectory {directory}", *lines_of(op, text), ""]))
    found = subprocess.run(
        [TOR, "--verify-config", "--defaults-torrc", "/dev/null", "-f", str(torrc)],
        capture_output=True,
        text=True,
        errors="replace",
    )
    if found.returncode == 0:
        return {"accepted": True}
    said = [line for line in found.stdout.splitlines() if "[warn]" in line or "[err]" in line]
    return {"error": said[0].partition("] ")[2] if said else "tor says no"}


def main() -> None:
    introduction = {
        "version": 1,
        "name": "tor",
        "implementation": version(),
        "language": "c",
        "ops": ["bridge-line/parse", "transport-name/parse"],
        "dialects": ["1"],
    }
    with tempfile.TemporaryDirectory() as directory:
        for line in sys.stdin:
            asked = json.loads(line)
            if asked["cmd"] == "stop":
                break
            told = introduction
            if asked["cmd"] == "run":
                answer = run(asked["op"], asked["input"]["text"], Path(directory))
                told = {"seq": asked["seq"], **answer}
            print(json.dumps(told), flush=True)


main()
