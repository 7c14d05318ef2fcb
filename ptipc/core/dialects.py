"""Everything that differs between the editions of the specification, as values.

Four editions have their own rules: 1, 2.0 (and 2.1, whose text is the same), 2.2 (and 2.2.1) and
3.0.  A ``Dialect`` answers one question per field; code asks for the fact it needs and never for
the number.  What a particular peer does differently is a dialect too::

    evolve(PT2_2, json_auth=0x80)                  # shapeshifter-ipc
    evolve(PT2_2, datagram_length_order="little")  # shapeshifter-dispatcher
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Literal

from attrs import evolve, field, frozen

__all__ = [
    "DIALECTS",
    "PT1",
    "PT2_0",
    "PT2_2",
    "PT3_0",
    "Dialect",
    "Role",
    "Row",
    "Stream",
    "dialect_for",
    "negotiate",
]


class Role(enum.Enum):
    """What a transport process is: one end of the tunnel or the other (PT 1 section 2)."""

    CLIENT = "client"
    SERVER = "server"


class Stream(enum.Enum):
    """One of the two outputs of a transport process."""

    STDOUT = "stdout"
    STDERR = "stderr"


@frozen(kw_only=True)
class Dialect:
    """The facts in which one edition of the specification differs from another."""

    version: str
    """The token that names the edition in a version list and in ``VERSION`` (C2)."""

    aliases: tuple[str, ...] = ()
    """Other tokens that documents and programs use for the same edition (C2)."""

    edition: int
    """Its place in time; tables use it for *since* and *until*, nothing else may."""

    environment: bool
    """Whether a transport process may be configured through ``TOR_PT_*`` variables."""

    flags: bool
    """Whether a transport process may be configured through command line flags."""

    flags_preferred: bool
    """Whether a host with a choice does better to use flags (2.2.1 deprecates variables)."""

    versions_required: bool
    """Whether the host has to send a version list (C1, C5)."""

    relative_state: bool
    """Whether the state directory may be a relative path (C65)."""

    state_default: str | None
    """The state directory when none is given; None: there is none (C1)."""

    default_role: Role | None
    """The role when no list and no flag tells it; None: one of the two lists has to (C8)."""

    target_required: bool
    """Whether a server has to be told where to forward to (C57)."""

    bind_required: bool
    """Whether a server has to be told where to listen (C39)."""

    chosen_listeners: bool
    """Whether a host may choose where a client listens, also off loopback (PT 2.2, 1.1.2)."""

    named_targets: bool
    """Whether the destination of a server may be a host name."""

    empty_extended_port: bool
    """Whether a host without an Extended ORPort says so by an empty variable (C37)."""

    error_stream: Stream
    """Where the five error lines are written (C9)."""

    protocols: tuple[str, ...]
    """What a ``CMETHOD`` line may name as the protocol of its port (C29)."""

    log_threshold: bool
    """Whether LOG lines have to be asked for with a level (PT 2.2 section 1.1.1)."""

    args_methods: tuple[int, ...]
    """The SOCKS5 methods that carry per-connection args, the preferred one first (C47)."""

    json_auth: int | None
    """The SOCKS5 method of the JSON parameter block (C50)."""

    datagram_length_order: Literal["big", "little"] = "big"
    """The order of the two octets before a datagram on a stream (C59)."""

    def __str__(self) -> str:
        return f"PT {self.version}"


PT1 = Dialect(
    version="1",
    aliases=("1.0",),
    edition=1,
    environment=True,
    flags=False,
    flags_preferred=False,
    versions_required=True,
    relative_state=False,
    state_default=None,
    default_role=None,
    target_required=True,
    bind_required=False,
    chosen_listeners=False,
    named_targets=False,
    empty_extended_port=True,
    error_stream=Stream.STDOUT,
    protocols=("socks5", "socks4"),
    log_threshold=False,
    args_methods=(0x02,),
    json_auth=None,
)

PT2_0 = evolve(
    PT1,
    version="2",
    aliases=("2.0", "2.1"),
    edition=2,
    flags=True,
    state_default=".",
    named_targets=True,
    error_stream=Stream.STDERR,
    protocols=("socks5", "transparent-TCP", "transparent-UDP", "STUN"),
    args_methods=(0x09, 0x02),
    json_auth=0x09,
)

PT2_2 = evolve(
    PT2_0,
    version="2.2",
    aliases=("2.2.1",),
    edition=3,
    flags_preferred=True,
    versions_required=False,
    relative_state=True,
    default_role=Role.CLIENT,
    bind_required=True,
    chosen_listeners=True,
    empty_extended_port=False,
    log_threshold=True,
)

PT3_0 = evolve(PT2_2, version="3.0", aliases=("3",), edition=4, environment=False)

DIALECTS = (PT1, PT2_0, PT2_2, PT3_0)


@frozen(kw_only=True)
class Row:
    """The columns that every table of the protocol has: whom and which editions a row is for."""

    role: Role | None = None
    since: Dialect = field(default=PT1)
    until: Dialect = field(default=PT3_0)

    def applies(self, dialect: Dialect, role: Role | None = None) -> bool:
        """Whether the row exists in an edition, for a role (None: for either)."""
        if self.role is not None and role is not None and self.role is not role:
            return False
        return self.since.edition <= dialect.edition <= self.until.edition


def dialect_for(token: str, supported: Iterable[Dialect] = DIALECTS) -> Dialect | None:
    """The dialect that a version token names, speaking under that very token, or None.

    The token is kept because a host compares the answer with what it offered octet by octet (C2).
    """
    for dialect in supported:
        if token == dialect.version:
            return dialect
        if token in dialect.aliases:
            return evolve(dialect, version=token)
    return None


def negotiate(
    offered: Iterable[str] | None, supported: Iterable[Dialect] = DIALECTS
) -> Dialect | None:
    """Choose the newest edition that both sides know (C4).

    ``offered`` is the host's list, or None when it sent none and the edition lets it: then the
    newest supported one is taken (C5).  Returns the dialect, whose ``version`` is the token to
    answer with, or None: then the answer is ``VERSION-ERROR``.
    Source: PT 1 section 3.2.1, PT 2.2 section 1.2.1.
    """
    known = sorted(supported, key=lambda dialect: dialect.edition)
    if offered is None:
        return known[-1] if known else None
    found = [dialect for token in offered if (dialect := dialect_for(token, known))]
    return max(found, key=lambda dialect: dialect.edition, default=None)
