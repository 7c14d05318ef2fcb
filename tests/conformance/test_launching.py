"""What a process is started with: settings in words, and as no host would say them."""

from __future__ import annotations

from typing import Any

import pytest

from ptipc.conformance.cases import fill
from ptipc.conformance.launching import Launch, launch_of
from ptipc.core.dialects import PT1, PT2_0, PT2_2, PT3_0, Dialect, Role
from ptipc.core.errors import LocalProtocolError

CLIENT = {"transports": ["foo"], "state": "/state", "exit_on_stdin_close": True}
SERVER = {**CLIENT, "bind_addresses": {"foo": "127.0.0.1:0"}, "target": "127.0.0.1:9"}


def launch(
    dialect: Dialect, role: Role = Role.CLIENT, ordinary: dict[str, Any] | None = None, **input: Any
) -> Launch:
    known = CLIENT if role is Role.CLIENT else SERVER
    return launch_of(
        input, ordinary or known, dialect, role, command=["pt", "-v"], extra={"HOME": "/"}
    )


def test_an_ordinary_start_in_the_first_edition() -> None:
    found = launch(PT1)
    assert found.set == {
        "TOR_PT_MANAGED_TRANSPORT_VER": "1",
        "TOR_PT_STATE_LOCATION": "/state",
        "TOR_PT_EXIT_ON_STDIN_CLOSE": "1",
        "TOR_PT_CLIENT_TRANSPORTS": "foo",
    }
    assert found.argv == ()
    assert found.command == ("pt", "-v")


def test_an_ordinary_start_by_flags() -> None:
    found = launch(PT3_0, Role.SERVER)
    assert found.set == {}
    words = " ".join(found.argv)
    assert "-transport foo -bindhost 127.0.0.1 -bindport 0 -target 127.0.0.1:9" in words


def test_a_setting_of_the_case_goes_before_the_ordinary_one() -> None:
    assert launch(PT1, settings={"state": "/other"}).set["TOR_PT_STATE_LOCATION"] == "/other"
    assert "TOR_PT_STATE_LOCATION" not in launch(PT1, settings={"state": None}).set


@pytest.mark.parametrize(
    ("dialect", "variable", "flag"),
    [(PT1, "TOR_PT_PROXY", None), (PT2_0, "TOR_PT_PROXY", None), (PT3_0, None, "-proxy")],
)
def test_raw_text_stands_where_the_edition_has_the_setting(
    dialect: Dialect, variable: str | None, flag: str | None
) -> None:
    found = launch(dialect, raw={"proxy": "socks5:///x"})
    if variable:
        assert found.set[variable] == "socks5:///x"
    if flag:
        assert found.argv[found.argv.index(flag) + 1] == "socks5:///x"


def test_a_setting_can_be_left_out() -> None:
    assert "TOR_PT_MANAGED_TRANSPORT_VER" not in launch(PT1, raw={"versions": None}).set
    assert "-ptversion" not in launch(PT3_0, raw={"versions": None}).argv
    assert "-client" not in launch(PT3_0, raw={"role": None}).argv


def test_a_flag_without_a_value_can_be_given_one() -> None:
    assert "-exit-on-stdin-close=0" in launch(PT3_0, raw={"exit_on_stdin_close": "0"}).argv
    found = launch(PT1, raw={"exit_on_stdin_close": "0"})
    assert found.set["TOR_PT_EXIT_ON_STDIN_CLOSE"] == "0"


def test_the_log_level_has_its_own_name() -> None:
    assert "LOUD" in launch(PT3_0, raw={"ipc_log_level": "LOUD"}).argv


def test_raw_addresses_stand_beside_a_list_of_transports() -> None:
    """The flags for one transport exclude the one for a list of addresses."""
    argv = launch(PT3_0, Role.SERVER, raw={"bind_addresses": "foo-[::1]:1"}).argv
    assert "-transport" not in argv
    assert argv[argv.index("-transports") + 1] == "foo"
    assert argv[argv.index("-bindaddr") + 1] == "foo-[::1]:1"


def test_the_address_of_one_transport_becomes_one_of_a_list() -> None:
    ordinary = {**SERVER, "bind_addresses": {"foo": "[::1]:0"}}
    argv = launch(PT3_0, Role.SERVER, ordinary, raw={"transports": "foo,bar"}).argv
    assert argv[argv.index("-bindaddr") + 1] == "foo-[::1]:0"
    assert argv[argv.index("-transports") + 1] == "foo,bar"


def test_a_channel_can_be_asked_for() -> None:
    assert "-transports" in launch(PT2_0, channel="flags").argv
    assert "TOR_PT_CLIENT_TRANSPORTS" in launch(PT2_2, channel="environment").set


def test_variables_and_flags_as_they_are() -> None:
    found = launch(PT1, set={"TOR_PT_PROXY": ""}, unset=["TOR_PT_STATE_LOCATION"], argv=["-x"])
    assert found.set["TOR_PT_PROXY"] == ""
    assert "TOR_PT_STATE_LOCATION" not in found.set
    assert found.argv == ("-x",)


def test_where_a_client_finds_its_server_without_socks() -> None:
    """An option since 3.0, the target before."""
    reach = {"mode": "transparent-TCP", "reach": "127.0.0.1:9"}
    argv = launch(PT2_2, settings=reach).argv
    assert argv[argv.index("-target") + 1] == "127.0.0.1:9"
    assert '{"foo":{"serverAddress":"127.0.0.1:9"}}' in launch(PT3_0, settings=reach).argv


def test_a_case_that_asks_for_what_there_is_not_is_not_well_formed() -> None:
    with pytest.raises(LookupError, match="listen"):
        launch(PT1, raw={"listen": "127.0.0.1:1"})
    with pytest.raises(LookupError):
        launch(PT1, settings={"colour": "red"})
    with pytest.raises(LocalProtocolError):
        launch(PT1, settings={"mode": "STUN"})


def test_names_in_braces_are_replaced_everywhere() -> None:
    values = {"a": "1", "b": "2"}
    assert fill({"{a}": ["x{b}", {"y": "{c}"}], "n": 3}, values) == {
        "1": ["x2", {"y": "{c}"}],
        "n": 3,
    }
