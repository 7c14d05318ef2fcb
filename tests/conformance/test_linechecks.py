"""The properties of lines, each with lines that have it and lines that do not."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from ptipc.conformance.cases import fixtures_directory
from ptipc.conformance.linechecks import LINES, Heard, Said
from ptipc.core.dialects import DIALECTS, Role

GOOD = {
    "client": ("VERSION 1", "CMETHOD foo socks5 127.0.0.1:1080", "CMETHODS DONE"),
    "server": ("VERSION 1", "SMETHOD foo 192.0.2.1:443 ARGS:cert=a\\=b,c=d", "SMETHODS DONE"),
}


def heard(
    lines: Sequence[str], dialect: str = "1", role: str = "client", stream: str = "stdout"
) -> Heard:
    return Heard(
        said=[Said(stream, line) for line in lines],
        dialect=next(each for each in DIALECTS if each.version == dialect),
        role=Role(role),
        transports=("foo",),
        proxy=False,
    )


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("role", GOOD)
def test_an_ordinary_start_has_every_property(name: str, role: str) -> None:
    assert LINES[name](heard(GOOD[role], role=role)) is None


BROKEN = [
    ("ordered", "1", "client", ["CMETHODS DONE"]),
    ("ordered", "1", "client", ["VERSION 1", "CMETHODS DONE", "CMETHOD foo socks5 127.0.0.1:1"]),
    ("ordered", "1", "client", ["VERSION 1", "PROXY DONE", "CMETHODS DONE"]),
    ("ordered", "1", "client", ["VERSION 1", "SMETHOD foo 127.0.0.1:1"]),
    ("well-formed", "1", "client", ["CMETHOD foo"]),
    ("well-formed", "1", "client", ["SMETHOD foo 127.0.0.1:1"]),
    ("canonical", "1", "client", ["CMETHOD  foo socks5 127.0.0.1:1"]),
    ("canonical", "1", "client", ["CMETHOD foo socks5 127.0.0.1:1 extra"]),
    ("canonical", "1", "client", ["VERSION 1 "]),
    ("canonical", "1", "server", ["SMETHOD foo  192.0.2.1:1 ARGS:a=b"]),
    ("single-blanks", "1", "client", ["CMETHOD foo  socks5 127.0.0.1:1"]),
    ("single-blanks", "1", "client", ["LOG SEVERITY=info MESSAGE=x "]),
    ("no-cr", "1", "client", ["VERSION 1\r"]),
    ("ascii", "1", "client", ["ENV-ERROR caf\u00e9"]),
    ("ascii", "1", "client", ["ENV-ERROR a\0b"]),
    ("ascii", "3.0", "client", ["LOG INFO \udcff"]),
    ("known", "1", "client", ["hello"]),
    ("no-lookalikes", "1", "client", ["CMETHODX foo socks5 127.0.0.1:1"]),
    ("once-done", "1", "client", ["CMETHODS DONE", "CMETHODS DONE"]),
    ("once-done", "1", "server", ["SMETHODS DONE", "SMETHOD foo 127.0.0.1:1"]),
    ("method-once", "1", "client", ["CMETHOD foo socks5 127.0.0.1:1"] * 2),
    ("method-once", "1", "client", ["CMETHOD foo socks5 127.0.0.1:1", "CMETHOD-ERROR foo x"]),
    ("method-asked", "1", "client", ["CMETHOD bar socks5 127.0.0.1:1"]),
    ("method-asked", "1", "server", ["SMETHOD-ERROR bar x"]),
    ("method-answered", "1", "client", ["VERSION 1", "CMETHODS DONE"]),
    ("method-address", "1", "client", ["CMETHOD foo socks5 localhost:1"]),
    ("method-address", "1", "client", ["CMETHOD foo socks5 127.0.0.1:0"]),
    ("method-address", "1", "client", ["CMETHOD foo socks5 ::1:12345"]),
    ("method-loopback", "1", "client", ["CMETHOD foo socks5 192.0.2.1:1"]),
    ("method-protocol", "2", "client", ["CMETHOD foo socks4 127.0.0.1:1"]),
    ("method-protocol", "1", "client", ["CMETHOD foo STUN 127.0.0.1:1"]),
    ("method-protocol", "1", "client", ["CMETHOD foo"]),
    ("method-socks5", "1", "client", ["CMETHOD foo socks4 127.0.0.1:1"]),
    ("args-escaped", "1", "server", ["SMETHOD foo 127.0.0.1:1 ARGS:a=b=c"]),
    ("args-escaped", "1", "server", ["SMETHOD foo 127.0.0.1:1 ARGS:a=b,"]),
    ("args-escaped", "3.0", "server", ["SMETHOD foo 127.0.0.1:1 ARGS:a=b;c=d"]),
    ("args-some", "1", "server", ["SMETHOD foo 127.0.0.1:1 ARGS:"]),
    ("log-format", "1", "client", ["LOG INFO text"]),
    ("log-format", "1", "client", ["LOG SEVERITY=info MESSAGE=two words"]),
    ("log-format", "3.0", "client", ["LOG SEVERITY=info MESSAGE=x"]),
    ("log-format", "2.2", "client", ["LOG NOTICE text"]),
    ("log-severity", "1", "client", ["LOG SEVERITY=warn MESSAGE=x"]),
    ("log-severity", "1", "client", ["LOG SEVERITY=INFO MESSAGE=x"]),
    ("log-portable", "1", "client", ["LOG MESSAGE=x SEVERITY=info"]),
    ("log-portable", "1", "client", ["LOG SEVERITY=info MESSAGE=x"]),
    ("log-portable", "1", "client", ['LOG SEVERITY=info MESSAGE="\\303\\251"']),
    ("log-errors-only", "3.0", "client", ["LOG WARN x"]),
    ("no-log", "3.0", "client", ["LOG INFO x"]),
    ("no-status", "3.0", "client", ["STATUS TRANSPORT=foo A=b"]),
    ("status-pairs", "1", "client", ["STATUS TRANSPORT=foo"]),
    ("status-pairs", "1", "client", ["STATUS foo"]),
    ("status-transport-first", "1", "client", ["STATUS A=b TRANSPORT=foo"]),
    ("status-version-early", "1", "client", ["STATUS TYPE=version IMPLEMENTATION=a VERSION=1"]),
    (
        "status-version-early",
        "1",
        "client",
        ["VERSION 1", "CMETHODS DONE", "STATUS TYPE=version IMPLEMENTATION=a VERSION=1"],
    ),
]


@pytest.mark.parametrize(("name", "dialect", "role", "lines"), BROKEN)
def test_lines_without_a_property(name: str, dialect: str, role: str, lines: list[str]) -> None:
    found = LINES[name](heard(lines, dialect, role))
    assert found is not None
    assert found.expected
    assert found.got


def test_every_property_has_lines_that_lack_it() -> None:
    assert set(LINES) - {name for name, *_ in BROKEN} == {"terminated"}


def test_a_line_without_its_end_is_seen() -> None:
    cut = Heard(
        said=[Said("stdout", "VERSION 1", whole=False)],
        dialect=DIALECTS[0],
        role=Role.CLIENT,
        transports=("foo",),
        proxy=False,
    )
    assert LINES["terminated"](cut) is not None


@pytest.mark.parametrize(
    ("name", "dialect", "lines"),
    [
        ("log-format", "1", ['LOG SEVERITY=info MESSAGE="a \\"b\\" c"']),
        ("log-format", "1", ["LOG MESSAGE=x SEVERITY=info"]),
        ("log-format", "3.0", ["LOG DEBUG caf\u00e9"]),
        ("ascii", "3.0", ["LOG DEBUG caf\u00e9"]),
        ("log-portable", "1", ['LOG SEVERITY=info MESSAGE="a\\n\\t\\"\\\\"']),
        ("log-errors-only", "3.0", ["LOG ERROR x"]),
        ("status-pairs", "1", ["STATUS TYPE=version IMPLEMENTATION=a VERSION=1"]),
        ("status-transport-first", "1", ["STATUS TYPE=version IMPLEMENTATION=a VERSION=1"]),
        ("once-done", "1", ["CMETHODS DONE", "LOG SEVERITY=info MESSAGE=x", "unknown"]),
        ("method-address", "1", ["CMETHOD foo socks5 [::1]:1"]),
        ("canonical", "1", ["CMETHOD foo socks5 192.0.2.1:1"]),
    ],
)
def test_lines_that_only_look_wrong(name: str, dialect: str, lines: list[str]) -> None:
    assert LINES[name](heard(lines, dialect)) is None


def test_what_stands_on_standard_error_is_for_people() -> None:
    """But for the five errors, and LOG and STATUS in PT 1."""
    talk = heard(["hello\r", "CMETHODX", "LOG nonsense"], "3.0", stream="stderr")
    assert all(LINES[name](talk) is None for name in ("known", "no-cr", "no-lookalikes"))
    assert LINES["well-formed"](heard(["CMETHOD-ERROR"], stream="stderr")) is None
    assert LINES["log-format"](heard(["LOG nonsense"], stream="stderr")) is not None


def test_the_schema_knows_the_same_properties() -> None:
    schema = json.loads(
        (fixtures_directory() / "schema" / "process.schema.json").read_text("utf-8")
    )
    listed = schema["$defs"]["expect"]["properties"]["lines"]["items"]["enum"]
    assert set(listed) == set(LINES)
