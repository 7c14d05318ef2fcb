"""The real tor is judged as a host: it deviates as its list says, and in nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from ptipc.cli.main import main

pytestmark = [pytest.mark.slow, pytest.mark.program("tor")]

CONFORMANCE = Path(__file__).parents[1] / "conformance"
KNOWN = CONFORMANCE / "expect" / "tor-host.toml"
"""What tor 0.4.9.11 does otherwise, and why that is so."""

TOR = ["tor", "-f", "{dir}/torrc", "--defaults-torrc", "{dir}/none", "--ignore-missing-torrc"]


@pytest.mark.parametrize("role", ["client", "server"])
def test_tor_deviates_as_its_list_says(role: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A tester that finds nothing wrong with it is wrong: some lines make it abort."""
    template = CONFORMANCE / "torrc" / f"{role}.torrc"
    words = ["--role", role, "--file", f"torrc={template}", "--strict", "--expect", str(KNOWN)]
    status = main(["check", "host", *words, "--", *TOR])
    said = capsys.readouterr().out
    assert status == 0, said
    assert "NOTE" not in said
    assert "KNOWN MUST" in said
    assert "dies of SIGABRT" in said
