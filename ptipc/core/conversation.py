"""The order in which lines may be said: one table, blind to who is asking.

The transport process asks it "may I say this?", the host "may it say this?", a tester both.
Source: PT 1 section 3 and 3.3, PT 2.0 section 3.3.2, PT 2.1 to 3.0 section 1.2; where these leave
the order open, tor decides (C11, C12, C26, C44).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from ptipc.core.dialects import Role
from ptipc.core.errors import ProtocolError
from ptipc.core.messages import (
    CMethod,
    CMethodError,
    CMethodsDone,
    EnvError,
    Log,
    Message,
    ProxyDone,
    ProxyError,
    SMethod,
    SMethodError,
    SMethodsDone,
    Status,
    StatusVersion,
    Unknown,
    Version,
    VersionError,
    role_of,
)

__all__ = ["ANYTIME", "ORDER", "Conversation", "OutOfOrder", "Phase"]


class Phase(enum.Enum):
    """How far a conversation has come."""

    START = "start"
    """No version is agreed on."""
    NEGOTIATED = "negotiated"
    """The version is known."""
    PROXIED = "proxied"
    """The upstream proxy is accepted, too."""
    METHODS = "methods"
    """Some transports are up, or have failed."""
    READY = "ready"
    """All of them are or have; the host may connect."""
    ENDED = "ended"
    """An error was said that ends the process."""


ANYTIME = frozenset({Log, Status, StatusVersion, Unknown})
"""What may be said in every phase; tor takes it before VERSION and after DONE, too."""

ORDER: Mapping[tuple[Phase, type[Message]], Phase] = {
    (Phase.START, Version): Phase.NEGOTIATED,
    (Phase.START, VersionError): Phase.ENDED,
    (Phase.START, EnvError): Phase.ENDED,
    (Phase.NEGOTIATED, EnvError): Phase.ENDED,  # C11: as PT 1 has it; tor wants it before VERSION
    (Phase.NEGOTIATED, ProxyDone): Phase.PROXIED,
    (Phase.NEGOTIATED, ProxyError): Phase.ENDED,  # C12: neither before VERSION nor behind a method
    (Phase.NEGOTIATED, CMethod): Phase.METHODS,
    (Phase.NEGOTIATED, CMethodError): Phase.METHODS,
    (Phase.NEGOTIATED, CMethodsDone): Phase.READY,
    (Phase.NEGOTIATED, SMethod): Phase.METHODS,
    (Phase.NEGOTIATED, SMethodError): Phase.METHODS,
    (Phase.NEGOTIATED, SMethodsDone): Phase.READY,
    (Phase.PROXIED, EnvError): Phase.ENDED,
    (Phase.PROXIED, CMethod): Phase.METHODS,
    (Phase.PROXIED, CMethodError): Phase.METHODS,
    (Phase.PROXIED, CMethodsDone): Phase.READY,
    (Phase.METHODS, EnvError): Phase.ENDED,
    (Phase.METHODS, CMethod): Phase.METHODS,
    (Phase.METHODS, CMethodError): Phase.METHODS,
    (Phase.METHODS, CMethodsDone): Phase.READY,
    (Phase.METHODS, SMethod): Phase.METHODS,
    (Phase.METHODS, SMethodError): Phase.METHODS,
    (Phase.METHODS, SMethodsDone): Phase.READY,
}
"""Which phase follows when a message is said in a phase; what is not here is not allowed."""


class OutOfOrder(ProtocolError):
    """A message was said in a phase, or by a role, in which it is not allowed.

    ``rule`` is the contradiction that decides about it, or ``order`` or ``role``.
    """

    def __init__(self, text: str, rule: str) -> None:
        super().__init__(text)
        self.rule = rule


class Conversation:
    """What one transport process has said so far.

    ``role`` is that of the process; None: lines of either are taken.  ``proxy`` is whether it was
    given an upstream proxy; None: that is not known, so it may answer for one or not.
    """

    def __init__(self, *, role: Role | None = None, proxy: bool | None = None) -> None:
        self.role = role
        self.proxy = proxy
        self.phase = Phase.START

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.phase.value}>"

    def say(self, message: Message) -> None:
        """Take notice of the next message.

        Raises OutOfOrder if it is not allowed here; the phase then stays what it was.
        """
        kind = type(message)
        if kind in ANYTIME:
            return
        self.check_speaker(message)
        phase = ORDER.get((self.phase, kind))
        if phase is None:
            rule = "C26" if self.phase is Phase.READY else "order"
            raise OutOfOrder(f"{kind.__name__} in the phase {self.phase.value!r}", rule)
        if self.proxy and self.phase is Phase.NEGOTIATED and phase in (Phase.METHODS, Phase.READY):
            raise OutOfOrder(f"{kind.__name__} before the upstream proxy is answered for", "C44")
        self.phase = phase

    def check_speaker(self, message: Message) -> None:
        """Raise OutOfOrder if such a process may say this message in no phase at all."""
        kind = type(message)
        whose = role_of(kind)
        if self.role is not None and whose not in (None, self.role):
            raise OutOfOrder(f"{kind.__name__} is not for a {self.role.value}", "role")
        if self.proxy is False and kind in (ProxyDone, ProxyError):
            raise OutOfOrder(f"{kind.__name__} without an upstream proxy", "C43")
