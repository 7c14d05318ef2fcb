"""The front page: every example on it is a program that works."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from ptipc.aio import launch
from ptipc.cli.main import main

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def example(name: str) -> str:
    """The code block behind the mark with this name."""
    mark = f"<!-- example: {name} -->\n```python\n"
    match = re.search(rf"{re.escape(mark)}(.*?)```", README, re.DOTALL)
    assert match is not None
    return match[1]


def test_the_transport_of_the_readme_carries_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the page calls a whole transport passes the tour."""
    program = tmp_path / "rot13.py"
    program.write_text(example("rot13.py"))
    status = main(["demo", "--transport", "rot13", "--", sys.executable, str(program)])
    assert "Every octet came back." in capsys.readouterr().out
    assert status == 0


@pytest.mark.program("obfs4proxy")
def test_the_host_of_the_readme_talks_through_obfs4(capsys: pytest.CaptureFixture[str]) -> None:
    """What the page calls a host says hello to a server, whose bridge line is put in its place."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(len(b"hello")))
        await writer.drain()
        writer.close()

    async def play() -> None:
        program: dict[str, Any] = {"__name__": "host"}
        exec(compile(example("host.py"), "host.py", "exec"), program)
        async with await asyncio.start_server(echo, "127.0.0.1", 0) as application:
            host, port = application.sockets[0].getsockname()
            async with launch(
                ["obfs4proxy"], server={"obfs4": "127.0.0.1:0"}, target=f"{host}:{port}"
            ) as server:
                program["BRIDGE"] = server.bridge_line("obfs4")
                await program["main"]()

    asyncio.run(play())
    assert "b'hello'" in capsys.readouterr().out


@pytest.mark.parametrize(
    "command",
    ["python3 -m pip install . && ptipc demo", "python3 -m pip install tox && tox"],
)
def test_the_readme_has_the_two_commands(command: str) -> None:
    """One shows it at work, one checks everything."""
    assert f"    {command}\n" in README
