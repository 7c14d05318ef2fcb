"""What is drawn is what the protocol can carry."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ptipc.core.config import Config
from ptipc.core.dialects import Dialect, Role
from ptipc.core.messages import emit_line, parse_line
from ptipc.core.settings import Channel
from ptipc.testing import strategies as some


@given(st.data(), some.dialects(), some.roles() | st.none())
def test_every_message_can_be_said_and_is_heard(
    data: st.DataObject, dialect: Dialect, role: Role | None
) -> None:
    message = data.draw(some.messages(dialect, role))
    line = emit_line(message, dialect, role)
    heard = parse_line(line, dialect, role)
    assert type(heard) is type(message)
    assert emit_line(heard, dialect, role) == line


@given(some.configs())
def test_every_configuration_can_be_said(drawn: tuple[Config, Channel | None]) -> None:
    config, channel = drawn
    said = config.to_process(channel)
    assert Config.from_process(said.set, said.argv) == config
