"""``ptipc`` itself: its commands, its help, and what is said of a wrong command line."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ptipc.cli.main import COMMANDS, main
from tests.cli.commands import result_of

OURS = ["tunnel", "run", "probe", "trace", "env", "torrc", "demo"]


@pytest.mark.parametrize(
    "words", [[name] for name in OURS] + [["tunnel", "client"], ["tunnel", "server"], []]
)
def test_help_fits_into_eighty_columns(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    status, said = result_of(*words, "--help")
    assert status == 0
    assert [line for line in said.splitlines() if len(line) > 80] == []
    assert said.startswith("usage: ptipc")


def test_every_command_is_there() -> None:
    said = " ".join(result_of("--help")[1].split())
    for name, what in COMMANDS.items():
        assert f"{name} {what}" in said


def test_without_a_command_the_help_is_shown() -> None:
    status, said = result_of()
    assert status == 2
    assert said.startswith("usage: ptipc")


def test_an_unknown_command_is_named() -> None:
    status, said = result_of("tunel")
    assert status == 2
    assert "invalid choice: 'tunel'" in said


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("ptipc ")


def test_a_command_that_a_program_waits_for_loads_little() -> None:
    """``ptipc trace`` starts its process before it loads what it writes the log with."""
    script = "import sys, ptipc.cli.main, ptipc.cli.trace; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    loaded = done.stdout.decode().split()
    assert not {"asyncio", "attr", "ptipc.core", "importlib.metadata"} & set(loaded)


def test_the_demo_says_what_went_wrong() -> None:
    status, said = result_of("demo", "--transport", "one", "--", "/nonexistent")
    assert status == 1
    assert "It did not work: cannot start '/nonexistent'" in said
