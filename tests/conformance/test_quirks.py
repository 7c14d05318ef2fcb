"""What is known of real programs, and how a finding says so."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ptipc.cli.main import main
from ptipc.conformance import expectations
from ptipc.conformance.cases import load
from ptipc.conformance.quirks import Quirk, known, quirks

EXPECTED = sorted((Path(__file__).parent / "expect").glob("*.toml"))
PROGRAMS = {"obfs4proxy": "obfs4proxy", "snowflake": "snowflake-client", "tor": "tor"}
"""How the lists of known failures are called, and the programs that they are about."""


def quirk(version: str, does: str, *dialects: str) -> Quirk:
    return Quirk(
        program="tor",
        version=version,
        case="a.b",
        observed="dies",
        does=does,
        evidence="run",
        dialects=dialects,
    )


def test_a_quirk_is_known_by_the_name_of_the_program() -> None:
    of = [quirk("1.2", "It ends."), quirk("1.3", "It hangs.", "1")]
    both = "known of tor 1.2: It ends.; known of tor 1.3: It hangs."
    assert known(of, ["/usr/sbin/tor", "-f", "x"], "a.b", "1") == both
    assert known(of, ["tor.exe"], "a.b", "2") == "known of tor 1.2: It ends."
    assert known(of, ["tor"], "a.c", "1") == ""
    assert known(of, ["torrent"], "a.b", "1") == ""


def test_a_quirk_is_known_of_a_version() -> None:
    """What another version does may be something else; so it is said that this one is another."""
    of = [quirk("1.2", "It ends."), quirk("1.3", "It hangs.", "1")]
    assert known(of, ["tor"], "a.b", "1", "1.3") == "known of tor 1.3: It hangs."
    assert known(of, ["tor"], "a.b", "2", "1.2") == "known of tor 1.2: It ends."
    assert known(of, ["tor"], "a.b", "2", "1.3") == "known of tor 1.2 (this is 1.3): It ends."


@pytest.mark.parametrize("path", EXPECTED, ids=[path.stem for path in EXPECTED])
def test_what_is_expected_of_a_program_is_one_of_its_quirks(path: Path) -> None:
    program = PROGRAMS[path.stem.partition("-")[0]]
    of = {each.case for each in quirks() if each.program == program}
    assert {each.id for each in expectations.read(path).known} - of == set()


def test_hosts_are_among_those_of_whom_something_is_known() -> None:
    played = {case.id for case in load(["process"]) if case.op == "process/host"}
    assert {each.program for each in quirks() if each.case in played} == {"tor", "tor-ptmgr"}


@pytest.mark.skipif(sys.platform == "win32", reason="the program is a script of Unix")
def test_a_finding_names_the_quirk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a host that is called tor, and does as tor does."""
    host = tmp_path / "tor"
    lines = ["#!/bin/sh", '[ "$1" = --version ] && echo "Tor version 0.4.9.12." && exit']
    lines += ["export TOR_PT_MANAGED_TRANSPORT_VER=1", '"$1" <&0 &', "wait"]
    host.write_text("\n".join(lines) + "\n")
    host.chmod(0o755)
    words = ["--select", "host.start.inherited", "--", str(host), "{pt}"]
    assert main(["check", "host", *words]) == 0
    assert "known of tor 0.4.9.11 (this is 0.4.9.12): It passes on the variables" in " ".join(
        capsys.readouterr().out.split()
    )
