"""Whose fault it is, and what the errors carry."""

from __future__ import annotations

import copy
import pickle

import pytest

from ptipc.core.dialects import PT1, PT2_0
from ptipc.core.errors import (
    ConfigError,
    LocalProtocolError,
    ProtocolError,
    PtipcError,
    Refused,
    RemoteProtocolError,
)
from ptipc.core.messages import EnvError


def test_there_is_one_name_for_all_of_them() -> None:
    for kind in (ProtocolError, LocalProtocolError, RemoteProtocolError, Refused, ConfigError):
        assert issubclass(kind, PtipcError)


def test_a_refusal_breaks_no_rule() -> None:
    """Who catches ProtocolError wants to hear of bugs, not of a peer that says no."""
    assert not issubclass(Refused, ProtocolError)
    assert not issubclass(ConfigError, ProtocolError)


def test_our_fault_is_not_the_peers() -> None:
    assert not issubclass(LocalProtocolError, RemoteProtocolError)
    assert not issubclass(RemoteProtocolError, LocalProtocolError)


def test_no_error_is_a_value_error() -> None:
    """A ValueError is a codec's word about one text; whoever called it says whose fault that is."""
    assert not issubclass(PtipcError, ValueError)


def test_a_refusal_carries_the_peers_number() -> None:
    error = Refused("connection refused", 5)
    assert (str(error), error.code) == ("connection refused", 5)


def test_a_config_error_carries_the_line_to_say_and_in_what() -> None:
    error = ConfigError(EnvError("no state"), "TOR_PT_STATE_LOCATION is not set", PT2_0)
    assert str(error) == "TOR_PT_STATE_LOCATION is not set"
    assert error.message == EnvError("no state")
    assert error.dialect is PT2_0


@pytest.mark.parametrize(
    "error",
    [
        LocalProtocolError("a"),
        RemoteProtocolError("b"),
        Refused("c", 5),
        ConfigError(EnvError("d"), "e", PT1),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_pass_between_processes(error: PtipcError) -> None:
    """multiprocessing pickles what a worker raises."""
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)
