"""What a transport process is told; the examples are in spec-fixtures/config."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from attrs import evolve
from attrs.exceptions import FrozenInstanceError
from hypothesis import given
from hypothesis import strategies as st

from ptipc.core.codecs import Address, LogLevel, Mode, UpstreamProxy
from ptipc.core.config import Config, Invocation
from ptipc.core.dialects import PT1, PT2_0, PT2_2, PT3_0, Dialect, Role
from ptipc.core.errors import ConfigError, LocalProtocolError
from ptipc.core.escapes import NO_ARGS, Args
from ptipc.core.messages import emit_line
from ptipc.core.parameters import PARAMETERS
from ptipc.core.settings import Channel
from ptipc.testing import strategies as some

ANYWHERE = Address("0.0.0.0", 0)


def client(dialect: Dialect = PT1, **settings: Any) -> Config:
    return Config(dialect=dialect, role=Role.CLIENT, **{"transports": ["foo"], **settings})


def server(dialect: Dialect = PT1, **settings: Any) -> Config:
    settings = {"transports": ["foo"], "target": Address("127.0.0.1", 9001), **settings}
    return Config(dialect=dialect, role=Role.SERVER, **settings)


def outcome(environ: Mapping[str, str], argv: Sequence[str]) -> Config | ConfigError:
    """What a transport process makes of a launch; any other exception is a bug."""
    try:
        return Config.from_process(environ, argv)
    except ConfigError as error:
        return error


# --- there and back -------------------------------------------------------------------------------


@given(some.configs())
def test_what_a_host_says_is_what_the_transport_process_hears(
    drawn: tuple[Config, Channel | None],
) -> None:
    config, channel = drawn
    said = config.to_process(channel)
    heard = Config.from_process(said.set, said.argv)
    assert heard == config
    assert heard.to_process(channel) == said


@given(
    some.configs(),
    st.dictionaries(st.sampled_from([row.env or "" for row in PARAMETERS]), st.text()),
)
def test_nothing_inherited_is_heard(
    drawn: tuple[Config, Channel | None], inherited: dict[str, str]
) -> None:
    config, channel = drawn
    said = config.to_process(channel)
    environment = said.environment({**inherited, "PATH": "/bin"})
    assert environment["PATH"] == "/bin"
    assert Config.from_process(environment, said.argv) == config


@given(some.configs(), st.data())
def test_damage_is_a_documented_error(
    drawn: tuple[Config, Channel | None], data: st.DataObject
) -> None:
    """Whatever is lost or garbled: a configuration comes out, or one line to say."""
    config, channel = drawn
    said = config.to_process(channel)
    environ = dict(said.set)
    argv = list(said.argv)
    if environ and (not argv or data.draw(st.booleans())):
        name = data.draw(st.sampled_from(sorted(environ)))
        environ[name] = data.draw(some.damaged([environ[name]]))
    else:
        at = data.draw(st.integers(0, len(argv) - 1))
        argv[at : at + 1] = data.draw(
            st.lists(some.damaged([argv[at]]), max_size=2) | st.just([argv[at]] * 2)
        )
    heard = outcome(environ, argv)
    if isinstance(heard, ConfigError):
        assert "\n" not in emit_line(heard.message, heard.dialect)


@given(
    st.dictionaries(st.sampled_from([row.env or "" for row in PARAMETERS]), some.anything()),
    st.lists(st.sampled_from([row.flag or "" for row in PARAMETERS]) | some.anything()),
)
def test_anything_at_all_is_a_documented_error(environ: dict[str, str], argv: list[str]) -> None:
    heard = outcome(environ, argv)
    if isinstance(heard, ConfigError):
        assert emit_line(heard.message, heard.dialect)


def test_a_server_that_has_no_wish_is_told_any_address() -> None:
    said = server(transports=["foo", "bar"]).to_process()
    assert said.set["TOR_PT_SERVER_BINDADDR"] == "foo-0.0.0.0:0,bar-0.0.0.0:0"
    heard = Config.from_process(said.set)
    assert heard.bind_addresses == {"foo": ANYWHERE, "bar": ANYWHERE}


# --- a value --------------------------------------------------------------------------------------


def test_a_config_is_a_value() -> None:
    config = client(transports=["foo", "bar"])
    assert config.transports == ("foo", "bar")
    with pytest.raises(FrozenInstanceError):
        config.role = Role.SERVER  # type: ignore[misc]
    assert evolve(config, warnings=("careful",)) == config
    assert pickle.loads(pickle.dumps(config)) == config


def test_the_state_is_where_the_edition_has_it() -> None:
    assert client(PT1).state is None
    assert client(PT2_0).state == "."


def test_a_transport_asks_for_its_own() -> None:
    config = server(
        transports=["foo", "bar"],
        options={"foo": {"a": "b"}, "bar": {}},
        bind_addresses={"foo": ANYWHERE},
    )
    assert config.options_for("foo") == Args({"a": "b"})
    assert config.options_for("bar") == NO_ARGS
    assert config.bind_address_for("foo") == ANYWHERE
    assert config.bind_address_for("bar") is None
    assert "bar" not in config.options


def test_where_the_server_is_stands_in_an_option_or_is_the_target() -> None:
    """C36: for applications that cannot say it themselves; a name is left to the transport."""
    told = {"x": {"serverAddress": "bridge.example:443"}}
    both = client(PT2_2, transports=["x", "y"], options=told, target=Address("192.0.2.7", 1))
    assert both.server_for("x") == Address("bridge.example", 443)
    assert both.server_for("y") == Address("192.0.2.7", 1)
    with pytest.raises(LocalProtocolError, match="option serverAddress"):
        client(PT3_0, transports=["x"]).server_for("x")
    odd = client(PT3_0, transports=["x"], options={"x": {"serverAddress": "nonsense"}})
    with pytest.raises(LocalProtocolError, match=r"serverAddress: .*nonsense"):
        odd.server_for("x")


def test_secrets_are_not_shown() -> None:
    proxy = UpstreamProxy("http", Address("192.0.2.1", 80), "user", "s3cret")
    config = client(PT3_0, proxy=proxy, options={"foo": {"key": "s3cret"}})
    said = config.to_process()
    assert any("s3cret" in word for word in said.argv)
    for shown in (repr(config), str(config), repr(said), repr(client(proxy=proxy).to_process())):
        assert "s3cret" not in shown


# --- the host's way -------------------------------------------------------------------------------


def test_an_environment_is_complete() -> None:
    """C38: every setting that is not ours goes, in any case; everything else stays."""
    invocation = Invocation({"TOR_PT_STATE_LOCATION": "/new"}, ())
    inherited = {"TOR_PT_STATE_LOCATION": "/old", "tor_pt_proxy": "x", "TOR_PT_X": "", "HOME": "/"}
    assert invocation.environment(inherited) == {"HOME": "/", "TOR_PT_STATE_LOCATION": "/new"}
    assert inherited["TOR_PT_STATE_LOCATION"] == "/old"


@pytest.mark.parametrize(
    ("dialect", "channel"), [(PT1, "environment"), (PT2_0, "environment"), (PT2_2, "flags")]
)
def test_an_edition_has_a_channel_of_its_own(dialect: Dialect, channel: Channel) -> None:
    assert client(dialect).to_process() == client(dialect).to_process(channel)


@pytest.mark.parametrize(
    ("config", "how", "text"),
    [
        (client(PT1), {"channel": "flags"}, "PT 1 is not configured by flags"),
        (client(PT3_0), {"channel": "environment"}, "PT 3.0 is not configured by environment"),
        (client(transports=[]), {}, "transports: none"),
        (client(transports=["a", "a"]), {}, "or one twice"),
        (client(transports=["bridge"]), {}, "transports: .*bridge"),
        (server(bind_addresses={"b": ANYWHERE}), {}, "bind_addresses: 'b' is not among"),
        (server(options={"b": {"c": "d"}}), {}, "options: 'b' is not among"),
        (client(bind_addresses={"foo": ANYWHERE}), {}, "bind_addresses cannot be said to a client"),
        (client(state="x"), {}, "state: a relative path in PT 1: 'x'"),
        (server(auth_cookie="/x"), {}, "auth_cookie: there is no extended_port"),
        (server(extended_port=ANYWHERE, auth_cookie="x"), {}, "auth_cookie: a relative path: 'x'"),
        (server(extended_port=ANYWHERE), {}, "TOR_PT_AUTH_COOKIE_FILE is missing"),
        (server(target=None), {}, "target: a server needs this or extended_port"),
        (client(mode=Mode.STUN), {}, "mode cannot be said to a client in PT 1"),
        (client(log_threshold=LogLevel.INFO), {}, "log_threshold cannot be said"),
        (client(PT3_0, outbound_v4="192.0.2.1"), {}, "outbound_v4 cannot be said"),
        (client(options={"foo": {"a": "b"}}), {}, "options cannot be said to a client in PT 1"),
        (server(options={"foo": {"a": "b"}}), {"flat_options": True}, "PT 1 has no flat form"),
        (client(PT3_0, options={"foo": Args([("a", 1), ("a", 2)])}), {}, "a name is repeated"),
        (
            client(PT3_0, transports=["foo", "bar"], options={"foo": {"a": "b"}}),
            {"flat_options": True},
            "would be misread",
        ),
        (
            client(PT3_0, options={"foo": {"foo": {"a": "b"}}}),
            {"flat_options": True},
            "would be misread",
        ),
        (client(PT3_0, options={"foo": {"a": object()}}), {}, "options: cannot be written as JSON"),
    ],
)
def test_what_a_host_cannot_say(config: Config, how: dict[str, Any], text: str) -> None:
    """Our caller's fault, with the setting by its name in this library."""
    with pytest.raises(LocalProtocolError, match=text):
        config.to_process(**how)


def test_flat_options_are_read_as_those_of_the_only_transport() -> None:
    config = client(PT3_0, options={"foo": {"foo": "text", "a": {"b": "c"}}})
    said = config.to_process(flat_options=True)
    assert said.argv[-1] == '{"foo":"text","a":{"b":"c"}}'
    assert Config.from_process(said.set, said.argv) == config
