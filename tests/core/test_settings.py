"""How settings are found, sorted and written; the examples are in spec-fixtures/config."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from ptipc.core.codecs import Address
from ptipc.core.dialects import PT1, PT2_0, PT2_2, PT3_0, Dialect, Role
from ptipc.core.errors import ConfigError, LocalProtocolError
from ptipc.core.messages import EnvError, ProxyError
from ptipc.core.settings import (
    Channel,
    Settings,
    find,
    find_versions,
    parameter_for,
    read,
    write,
)


def settings(
    dialect: Dialect,
    role: Role,
    environ: Mapping[str, str] | None = None,
    argv: Sequence[str] = (),
) -> Settings:
    return read(find(environ or {}, argv, dialect), dialect, role)


# --- finding --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["-ptversion", "3.0"], "3.0"),
        (["--ptversion=3.0"], "3.0"),
        (["-own", "-mode", "-ptversion", "-ptversion", "3.0"], "3.0"),
        (["-version", "2"], "1"),
        (["-ptversion"], "1"),
        (["-ptversion="], "1"),
        (["word", "-exit-on-stdin-close", "1"], "1"),
    ],
)
def test_the_versions_are_found_before_the_edition_is_known(argv: list[str], text: str) -> None:
    """By the flag, or else by the variable; the name that the flag once had comes last."""
    found = find_versions({"TOR_PT_MANAGED_TRANSPORT_VER": "1"}, argv)
    assert found is not None
    assert found.text == text


def test_an_old_name_of_the_flag_is_better_than_nothing() -> None:
    found = find_versions({"TOR_PT_MANAGED_TRANSPORT_VER": ""}, ["-version", "2"])
    assert found is not None
    assert found.spelling == "-version"


def test_there_may_be_no_versions() -> None:
    assert find_versions({"TOR_PT_STATE_LOCATION": "/x"}, ["-state", "-ptversion"]) is None


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["-mode", "STUN", "s3cret"], "a word behind -mode belongs to no flag"),
        (["s3cret"], "a word behind the name of the program belongs to no flag"),
        (["-frob=s3cret"], "-frob: not a flag of PT 3.0"),
        (["--frob"], "-frob: not a flag of PT 3.0"),
        (["--"], "-: not a flag of PT 3.0"),
        (["-mode"], "-mode: the value is missing"),
        (["-mode", "STUN", "--mode=STUN"], "-mode: given twice"),
        (
            ["-exit-on-stdin-close", "-exit-on-close"],
            "-exit-on-stdin-close and -exit-on-close: the same, twice",
        ),
    ],
)
def test_flags_that_are_none(argv: list[str], text: str) -> None:
    """What belongs to no flag is not shown, for it may be a piece of a secret."""
    with pytest.raises(ConfigError) as raised:
        find({}, argv, PT3_0)
    assert str(raised.value) == text
    assert raised.value.message == EnvError(text)
    assert raised.value.dialect == PT3_0


def test_an_edition_without_flags_leaves_them_alone() -> None:
    found = find({"TOR_PT_STATE_LOCATION": "/x"}, ["-state", "/y", "word"], PT1)
    assert [each.text for each in found] == ["/x"]


def test_an_edition_without_variables_looks_for_versions_only() -> None:
    environ = {"TOR_PT_MANAGED_TRANSPORT_VER": "3.0", "TOR_PT_STATE_LOCATION": "/x"}
    assert [each.spelling for each in find(environ, [], PT3_0)] == ["TOR_PT_MANAGED_TRANSPORT_VER"]
    assert [each.spelling for each in find(environ, ["-ptversion", "3.0"], PT3_0)] == ["-ptversion"]


def test_what_was_found_is_not_shown() -> None:
    (found,) = find({"TOR_PT_PROXY": "http://u:s3cret@192.0.2.1:1"}, [], PT1)
    assert "s3cret" not in repr(found)


# --- sorting --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", [PT2_0, PT2_2])
def test_a_flag_wins_over_its_variable(dialect: Dialect) -> None:
    both = settings(dialect, Role.CLIENT, {"TOR_PT_STATE_LOCATION": "/x"}, ["-state", "/y"])
    assert both.get("state") == "/y"
    assert len(both.warnings) == 1


def test_a_variable_of_the_other_role_is_ignored() -> None:
    found = settings(PT1, Role.CLIENT, {"TOR_PT_ORPORT": "nonsense"})
    assert found.get("target") is None
    assert found.warnings == ("TOR_PT_ORPORT: not for a client, ignored",)


def test_a_flag_of_the_other_role_is_an_error() -> None:
    with pytest.raises(ConfigError, match="-orport: not for a client"):
        settings(PT2_0, Role.CLIENT, argv=["-orport", "127.0.0.1:1"])


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["-targethost", "a"], "-targethost: a half of an address:port; -targetport is missing"),
        (
            ["-bindport", "1"],
            "-bindport: the address of one transport; -transport and -bindhost is missing",
        ),
        (
            ["-transport", "a", "-transports", "a"],
            "-transport and -transports: either one transport or a list",
        ),
    ],
)
def test_a_broken_rule_is_named(argv: list[str], text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        settings(PT3_0, Role.SERVER, argv=argv)
    assert str(raised.value) == text


def test_what_is_missing_is_named_as_the_host_would_spell_it() -> None:
    with pytest.raises(ConfigError, match="TOR_PT_AUTH_COOKIE_FILE is missing"):
        settings(PT2_2, Role.SERVER, {"TOR_PT_EXTENDED_SERVER_PORT": "127.0.0.1:1"})


def test_a_value_is_read_when_it_is_asked_for() -> None:
    """So that the upstream proxy can be the last thing to complain about."""
    found = settings(PT1, Role.CLIENT, {"TOR_PT_PROXY": "nonsense"})
    assert found.get("state", ".") == "."
    with pytest.raises(ConfigError) as raised:
        found.get("proxy")
    assert isinstance(raised.value.message, ProxyError)
    assert str(raised.value).startswith("TOR_PT_PROXY: ")


def test_the_halves_of_an_address_are_joined() -> None:
    argv = ["-targethost", "[::1]", "-targetport", "80"]
    found = settings(PT3_0, Role.SERVER, argv=argv)
    assert found.joined("target") == ("::1", 80)
    assert found.joined("listen") is None


@pytest.mark.parametrize(
    "text",
    [
        "http://u:s3cret",
        "http://u:s3cret@",
        "socks5://u:s3cret@host",
        "http://s3cret",
        "http://u:p@s3cret",
        "http://u:s3cret@1:1",
    ],
)
def test_a_secret_is_in_no_error(text: str) -> None:
    """Not even in the traceback, which would show what the codec had to say."""
    with pytest.raises(ConfigError) as raised:
        settings(PT1, Role.CLIENT, {"TOR_PT_PROXY": text}).get("proxy")
    shown = "".join(traceback.format_exception_only(raised.value))
    assert "s3cret" not in shown
    assert raised.value.__context__ is None


# --- writing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "dialect", "role", "channel", "spelling"),
    [
        ("target", PT2_2, Role.SERVER, "flags", "-target"),
        ("target", PT2_0, Role.SERVER, "flags", "-orport"),
        ("target", PT2_2, Role.SERVER, "environment", "TOR_PT_ORPORT"),
        ("target", PT2_2, Role.CLIENT, "environment", "-target"),
        ("outbound_v4", PT1, Role.SERVER, "flags", "TOR_PT_OUTBOUND_BIND_ADDRESS_V4"),
        ("exit_on_stdin_close", PT3_0, Role.SERVER, "flags", "-exit-on-stdin-close"),
        ("versions", PT2_0, Role.CLIENT, "flags", "-ptversion"),
    ],
)
def test_a_setting_is_spelled_by_its_first_row(
    name: str, dialect: Dialect, role: Role, channel: Channel, spelling: str
) -> None:
    """One of the channel if there is one; old names and misprints are not written."""
    row = parameter_for(name, dialect, role, channel)
    assert row is not None
    assert row.spelling(channel == "flags") == spelling


def test_there_may_be_no_way_to_say_it() -> None:
    assert parameter_for("target", PT3_0, Role.CLIENT, "flags") is None


def test_settings_are_written_in_their_order() -> None:
    given = {"versions": ("2",), "exit_on_stdin_close": True, "transports": ("a", "b")}
    assert write(given, PT2_0, Role.CLIENT, "flags") == (
        {},
        ("-ptversion", "2", "-exit-on-stdin-close", "-transports", "a,b"),
    )


def test_what_has_no_variable_becomes_a_flag() -> None:
    given = {"state": "/x", "target": Address("192.0.2.1", 80)}
    assert write(given, PT2_2, Role.CLIENT, "environment") == (
        {"TOR_PT_STATE_LOCATION": "/x"},
        ("-target", "192.0.2.1:80"),
    )


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"outbound_v4": "192.0.2.1"}, "outbound_v4 cannot be said to a client in PT 3.0"),
        ({"state": "/a\0b"}, "state: not a path"),
        ({"state": "/\ud800"}, "state: text that is no Unicode"),
        ({"listen": Address("localhost", 1)}, "listen: not an IP address"),
        ({"options_file": "/x", "options": {}}, "-options and -optionsFile"),
        ({"listen_host": "::1"}, "-proxylistenport is missing"),
    ],
)
def test_what_cannot_be_written(given: dict[str, Any], text: str) -> None:
    with pytest.raises(LocalProtocolError, match=text):
        write(given, PT3_0, Role.CLIENT, "flags")
