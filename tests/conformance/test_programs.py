"""The command of a program under test: what its words become elsewhere, its name, its version."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from ptipc.conformance.programs import VERSION_FLAGS, found_from_anywhere, name_of, version_of


@pytest.mark.parametrize(
    ("words", "at"),
    [
        (["./pt", "--log", "x"], [0]),
        (["bin/pt"], [0]),
        (["python3", "pt.py"], [1]),
        (["python3", "bin/pt", "bin"], [1]),
        (["sh", "-x", "bin/pt"], [2]),
        (["pt.py"], []),
        (["pt", "bin", "."], []),
        (["env", "--config=bin/pt", "-bin/pt"], []),
        (["nothing/there", "neither.py"], []),
        (["python3", "-c", "print(1 / 2)\0"], []),
    ],
)
def test_words_that_name_files_are_found_from_anywhere(
    words: list[str], at: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first word is what it is to a shell: without a separator, a program on the path."""
    (tmp_path / "bin").mkdir()
    for name in ("bin/pt", "pt", "pt.py"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    whole = [
        os.path.abspath(tmp_path / word) if index in at else word
        for index, word in enumerate(words)
    ]
    assert found_from_anywhere(words) == whole


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["/usr/bin/obfs4proxy", "-enableLogging"], "obfs4proxy"),
        (["/venv/bin/python3.11", "-u", "/src/pt.py", "--verbose"], "pt.py"),
        (["python", "-m", "mypt"], "mypt"),
        (["env", "A=b", "sh", "./run"], "run"),
        (["java", "-jar", "pt.jar"], "pt.jar"),
        (["python3", "-c", "print()"], "python3"),
        (["sh"], "sh"),
    ],
)
def test_a_program_is_called_by_its_file(command: Sequence[str], name: str) -> None:
    """Not by what runs it."""
    assert name_of(command) == name


def said(path: Path, script: str) -> str:
    """The version of a program that is called as one that is known to tell it."""
    path.write_text(f"#!{sys.executable}\n{script}")
    path.chmod(0o700)
    return asyncio.run(version_of([str(path)]))


@pytest.mark.skipif(sys.platform == "win32", reason="there a script is no program")
def test_a_known_program_is_asked_for_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is given no more than a moment; one that is not known is not started at all."""
    monkeypatch.setattr("ptipc.conformance.programs.PATIENCE", 60.0)
    known = tmp_path / next(iter(VERSION_FLAGS))
    assert said(known, "import sys; print('this is', sys.argv[1], '4.5.6-rc1.')") == "4.5.6-rc1"
    assert said(known, "print('no version')") == ""
    monkeypatch.setattr("ptipc.conformance.programs.PATIENCE", 0.5)
    assert said(known, "import time; time.sleep(600)") == ""
    assert asyncio.run(version_of(["/nonexistent/tor"])) == ""
    mark = tmp_path / "started"
    assert said(tmp_path / "unknown", f"open({str(mark)!r}, 'w'); print('1.2')") == ""
    assert not mark.exists()


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(program, marks=pytest.mark.program(program))
        for program in ("tor", "obfs4proxy", "snowflake-client")
    ],
)
def test_real_programs_say_their_versions(program: str) -> None:
    assert asyncio.run(version_of([program])).count(".") >= 2
