"""What a transport process makes of its launch; the examples are in spec-fixtures/config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from attrs import evolve

from ptipc.core.codecs import PROXY
from ptipc.core.config import Config
from ptipc.core.configread import is_absolute
from ptipc.core.dialects import DIALECTS, PT1, PT2_0, PT2_2, PT3_0, Dialect, Role, Stream
from ptipc.core.errors import ConfigError
from ptipc.core.messages import EnvError, ProxyError, Version, VersionError, emit_line, stream_of

CLIENT = {
    "TOR_PT_MANAGED_TRANSPORT_VER": "1",
    "TOR_PT_STATE_LOCATION": "/state",
    "TOR_PT_CLIENT_TRANSPORTS": "foo",
}
SERVER = {
    "TOR_PT_MANAGED_TRANSPORT_VER": "1",
    "TOR_PT_STATE_LOCATION": "/state",
    "TOR_PT_SERVER_TRANSPORTS": "foo",
    "TOR_PT_SERVER_BINDADDR": "foo-192.0.2.1:80",
    "TOR_PT_ORPORT": "127.0.0.1:9001",
}
CLIENT_FLAGS = ("-ptversion", "3.0", "-transports", "foo")
SERVER_FLAGS = ("-ptversion", "3.0", "-server", "-transport", "foo", "-target", "127.0.0.1:9001")


def refusal(environ: Mapping[str, str], argv: Sequence[str] = (), **how: Any) -> ConfigError:
    with pytest.raises(ConfigError) as raised:
        Config.from_process(environ, argv, **how)
    return raised.value


# --- which edition, which stream ------------------------------------------------------------------


def test_a_host_that_speaks_1_hears_of_errors_on_standard_output() -> None:
    """C9: also in an edition that wants them elsewhere, and also of errors of a transport."""
    argv = ("-ptversion", "1,3.0", *CLIENT_FLAGS[2:])
    assert Config.from_process({}, argv).dialect.error_stream is Stream.STDOUT
    assert Config.from_process({}, CLIENT_FLAGS).dialect.error_stream is Stream.STDERR


@pytest.mark.parametrize(
    ("offered", "supported", "stream"),
    [
        ("1", [PT3_0], Stream.STDOUT),
        ("2", [PT3_0], Stream.STDERR),
        ("2,2.2", [PT3_0], Stream.STDERR),
        ("1,2", [PT3_0], Stream.STDOUT),
        ("9", DIALECTS, Stream.STDOUT),
        ("2,9", [PT3_0], Stream.STDERR),
    ],
)
def test_no_version_fits(offered: str, supported: list[Dialect], stream: Stream) -> None:
    environ = {"TOR_PT_MANAGED_TRANSPORT_VER": offered}
    error = refusal(environ, supported=supported)
    assert error.message == VersionError()
    assert stream_of(error.message, error.dialect) is stream
    assert repr(offered) in str(error)


def test_a_peer_with_a_habit_is_spoken_to_in_its_way() -> None:
    shapeshifter = evolve(PT2_2, json_auth=0x80)
    argv = ("-ptversion", "2.2", *CLIENT_FLAGS[2:])
    assert Config.from_process({}, argv, [PT1, shapeshifter]).dialect == shapeshifter


@pytest.mark.parametrize(
    ("environ", "argv", "supported"),
    [
        ({"TOR_PT_CLIENT_TRANSPORTS": "foo"}, (), [PT1, PT2_0]),
        ({"TOR_PT_CLIENT_TRANSPORTS": "foo"}, (), [PT3_0]),
        ({}, ("-transports", "foo"), [PT1]),
    ],
)
def test_a_list_of_versions_is_missed(
    environ: dict[str, str], argv: tuple[str, ...], supported: list[Dialect]
) -> None:
    error = refusal(environ, argv, supported=supported)
    assert isinstance(error.message, EnvError)
    assert error.dialect.error_stream is Stream.STDOUT
    assert "TOR_PT_MANAGED_TRANSPORT_VER" in str(error)


def test_a_list_of_versions_may_be_left_out() -> None:
    heard = Config.from_process({"TOR_PT_CLIENT_TRANSPORTS": "foo"})
    assert heard.dialect == evolve(PT2_2, error_stream=Stream.STDOUT)
    heard = Config.from_process({}, CLIENT_FLAGS[2:])
    assert heard.dialect == evolve(PT3_0, error_stream=Stream.STDOUT)


@pytest.mark.parametrize(
    ("environ", "argv", "role"),
    [
        (CLIENT, (), Role.CLIENT),
        (SERVER, (), Role.SERVER),
        ({}, CLIENT_FLAGS, Role.CLIENT),
        ({}, (*SERVER_FLAGS, "-bindhost", "::", "-bindport", "0"), Role.SERVER),
        ({}, ("-ptversion", "2", *CLIENT_FLAGS[2:]), Role.CLIENT),
        ({}, ("-ptversion", "2", *CLIENT_FLAGS[2:], "-orport", "127.0.0.1:1"), Role.SERVER),
        ({}, ("-ptversion", "2", *CLIENT_FLAGS[2:], "-target", "127.0.0.1:1"), Role.CLIENT),
    ],
)
def test_the_role_is_what_is_said_or_what_it_looks_like(
    environ: dict[str, str], argv: tuple[str, ...], role: Role
) -> None:
    assert Config.from_process(environ, argv).role is role


@pytest.mark.parametrize(
    ("environ", "argv", "text"),
    [
        ({**CLIENT, "TOR_PT_SERVER_TRANSPORTS": "a"}, (), "TOR_PT_CLIENT_TRANSPORTS and TOR_PT_S"),
        ({}, (*CLIENT_FLAGS, "-client", "-server"), "-client and -server: "),
        ({}, (*CLIENT_FLAGS, "-client=x"), "-client: not a switch"),
        ({"TOR_PT_MANAGED_TRANSPORT_VER": "1"}, (), "no transport is asked for; use TOR_PT_CLIENT"),
        ({"TOR_PT_MANAGED_TRANSPORT_VER": ","}, (), "TOR_PT_MANAGED_TRANSPORT_VER: a list without"),
        ({}, SERVER_FLAGS, "no address for 'foo' to listen on; use -bindaddr or -bindhost"),
        ({**SERVER, "TOR_PT_ORPORT": ""}, (), "use TOR_PT_ORPORT or TOR_PT_EXTENDED_SERVER_PORT"),
        ({**SERVER, "TOR_PT_SERVER_TRANSPORT_OPTIONS": "foo:s3cret"}, (), "no equals sign"),
        (
            {},
            ("-ptversion", "3.0", "-transports", "a,b", "-options", '{"a":1}'),
            "-options: neither",
        ),
        ({}, (*CLIENT_FLAGS, "-mode", "x", "-proxy", "x"), "-mode: not a mode"),
    ],
)
def test_what_is_wrong_is_told_in_the_hosts_words(
    environ: dict[str, str], argv: tuple[str, ...], text: str
) -> None:
    error = refusal(environ, argv)
    assert text in str(error)
    assert error.message == EnvError(str(error))
    assert "s3cret" not in str(error)


def test_the_proxy_is_the_last_to_be_complained_about() -> None:
    """C12: VERSION is said before PROXY-ERROR; the error has the dialect with the version."""
    error = refusal({**CLIENT, "TOR_PT_MANAGED_TRANSPORT_VER": "1.0", "TOR_PT_PROXY": "x"})
    assert isinstance(error.message, ProxyError)
    assert emit_line(Version(error.dialect.version), error.dialect) == "VERSION 1.0"
    bad = {**CLIENT, "TOR_PT_PROXY": "x", "TOR_PT_OUTBOUND_BIND_ADDRESS_V4": "x"}
    assert isinstance(refusal(bad).message, EnvError)


def test_a_good_launch_leaves_no_warning() -> None:
    assert Config.from_process(CLIENT).warnings == ()
    assert Config.from_process(SERVER).warnings == ()
    assert Config.from_process({**SERVER, "PATH": "/bin", "TOR_PT_PROXY": ""}).warnings == ()


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        ({"TOR_PT_NEW": "1"}, "TOR_PT_NEW: not a variable of PT 1, ignored"),
        ({"TOR_PT_PROXY": "x"}, "TOR_PT_PROXY: not for a server, ignored"),
        ({"TOR_PT_STATE_LOCATION": "x"}, "TOR_PT_STATE_LOCATION: a relative path: 'x'"),
        ({"TOR_PT_SERVER_TRANSPORTS": "foo,*"}, "TOR_PT_SERVER_TRANSPORTS: not a transport name"),
        (
            {"TOR_PT_SERVER_BINDADDR": "bar-192.0.2.1:80"},
            "TOR_PT_SERVER_BINDADDR: 'bar' is not asked for, ignored",
        ),
        (
            {"TOR_PT_SERVER_TRANSPORT_OPTIONS": "bar:s3cret=s3cret"},
            "TOR_PT_SERVER_TRANSPORT_OPTIONS: 'bar' is not asked for, ignored",
        ),
        ({"TOR_PT_AUTH_COOKIE_FILE": "/x"}, "TOR_PT_AUTH_COOKIE_FILE: there is no extended port"),
        (
            {"TOR_PT_EXTENDED_SERVER_PORT": "127.0.0.1:1", "TOR_PT_AUTH_COOKIE_FILE": "x"},
            "TOR_PT_AUTH_COOKIE_FILE: a relative path: 'x'",
        ),
        (
            {"TOR_PT_EXTENDED_SERVER_PORT": "192.0.2.1:1", "TOR_PT_AUTH_COOKIE_FILE": "/x"},
            "TOR_PT_EXTENDED_SERVER_PORT: not on this machine: '192.0.2.1:1'",
        ),
    ],
)
def test_what_is_ignored_is_told(extra: dict[str, str], text: str) -> None:
    (warning,) = Config.from_process({**SERVER, **extra}).warnings
    assert warning.startswith(text)
    assert "s3cret" not in warning


@pytest.mark.parametrize("text", ['{"foo":{"a":1}}', '{"a":1}'])
def test_the_options_file_is_read_by_whoever_can(text: str) -> None:
    argv = (*CLIENT_FLAGS, "-optionsFile", "/conf")
    asked = []

    def read_file(path: str) -> str:
        asked.append(path)
        return text

    heard = Config.from_process({}, argv, read_file=read_file)
    assert asked == ["/conf"]
    assert heard.options == {"foo": {"a": 1}}
    assert heard.options_file is None
    assert Config.from_process({}, argv).options_file == "/conf"


def test_options_for_several_transports_need_not_name_all_of_them() -> None:
    options = '{"foo":{"a":1},"baz":{"b":2}}'
    argv = ("-ptversion", "3.0", "-transports", "foo,bar", "-options", options)
    heard = Config.from_process({}, argv)
    assert heard.options == {"foo": {"a": 1}}
    assert heard.warnings == ("-options: 'baz' is not asked for, ignored",)


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (FileNotFoundError(2, "No such file", "/conf"), "-optionsFile: [Errno 2] No such file"),
        (UnicodeDecodeError("utf-8", b"s3cret\xff", 6, 7, "x"), "-optionsFile: not a file of text"),
    ],
)
def test_the_options_file_cannot_be_read(problem: Exception, text: str) -> None:
    def read_file(path: str) -> str:
        raise problem

    error = refusal({}, (*CLIENT_FLAGS, "-optionsFile", "/conf"), read_file=read_file)
    assert str(error).startswith(text)
    assert "s3cret" not in str(error)
    assert isinstance(error.message, EnvError)


def test_socks4_is_kept_as_it_was_read() -> None:
    """arti writes ``socks4``; a transport that speaks SOCKS 4a serves it as well (C41)."""
    heard = Config.from_process({**CLIENT, "TOR_PT_PROXY": "socks4://192.0.2.1:80"})
    assert heard.proxy == PROXY.parse("socks4://192.0.2.1:80")
    assert heard.to_process().set["TOR_PT_PROXY"] == "socks4a://192.0.2.1:80"


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/x", True),
        ("C:\\x", True),
        ("c:/x", True),
        ("\\\\host\\x", True),
        (None, True),
        ("x", False),
        ("C:x", False),
        ("./x", False),
    ],
)
def test_absolute_here_or_on_windows(path: str | None, answer: bool) -> None:
    assert is_absolute(path) is answer
